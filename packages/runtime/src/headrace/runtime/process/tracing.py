"""Traces: one from the request that submits a job through claim, execution and settlement.

Off unless an `OTEL_EXPORTER_OTLP_…ENDPOINT` is set and the extra `otel` is installed; then nothing of OpenTelemetry is
imported, and what is left is the `traceparent` of a request, which is kept with the job all the same.
Names follow OpenTelemetry's conventions for messaging, which are not stable yet: they stand here alone.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import structlog

Kind = Literal["server", "producer", "consumer", "client", "internal"]
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
FLUSH_MS = 2000
"""How long the end of a process waits for a collector that does not answer."""
_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

_parent: ContextVar[str | None] = ContextVar("headrace_traceparent", default=None)
_provider: Any = None

log = structlog.get_logger(__name__)


def is_on() -> bool:
    """Whether spans are made."""
    return _provider is not None


def current() -> str | None:
    """The `traceparent` of what is being done: of our span, else of the request as it came."""
    return _parent.get()


def start(service: str) -> bool:
    """Send the spans of this process to the collector that `OTEL_*` names. Returns whether it does.

    Args:
        service: Its name is `headrace-` and this, unless `OTEL_SERVICE_NAME` says otherwise.
    """
    global _provider  # noqa: PLW0603 -- one per process, like logging
    wanted = any(os.environ.get(name) for name in ENDPOINTS)
    if not wanted or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("tracing.not_installed", detail="OTEL_EXPORTER_OTLP_ENDPOINT is set; install the extra 'otel'")
        return False
    os.environ.setdefault("OTEL_SERVICE_NAME", f"headrace-{service}")
    _provider = TracerProvider(resource=Resource.create(), shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return True


def stop() -> None:
    """Send what is left. Bounded; safe to call without `start`."""
    global _provider  # noqa: PLW0603 -- as above
    if _provider is not None:
        _provider.force_flush(FLUSH_MS)
        _provider = None


def job_attributes(operation: str, *, pool: str, job_id: str, job_type: str, attempt: int = 0) -> dict[str, Any]:
    """What a span of a job carries."""
    return {
        "messaging.system": "headrace",
        "messaging.operation.name": operation,
        "messaging.destination.name": pool,
        "messaging.message.id": job_id,
        "job.id": job_id,
        "job.type": job_type,
        "job.attempt": attempt,
    }


class Span:
    """A span that was begun."""

    def __init__(self, span: Any) -> None:
        self._span = span
        self._is_over = False

    @property
    def traceparent(self) -> str:
        """What its children name."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def end(self, *, error: str | None = None, **attributes: Any) -> None:
        """End it, once; `error` is the type of what went wrong."""
        if self._is_over:
            return
        self._is_over = True
        from opentelemetry.trace import Status, StatusCode

        for name, value in attributes.items():
            self._span.set_attribute(name.replace("__", "."), value)
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()

    @contextmanager
    def around(self) -> Iterator[None]:
        """What is done in here is done by it: spans of other libraries become its children."""
        from opentelemetry.trace import use_span

        token = _parent.set(self.traceparent)
        try:
            with use_span(self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
                yield
        finally:
            _parent.reset(token)


def begin(name: str, kind: Kind, *, parent: str | None, began_ns: int | None = None, **attributes: Any) -> Span | None:
    """Begin a span; None while tracing is off.

    Args:
        name: Of few different values.
        kind: What it is to others.
        parent: The `traceparent` of what caused it.
        began_ns: When it began, since 1970; now by default.
        attributes: A double underscore stands for a dot.
    """
    if _provider is None:
        return None
    from opentelemetry.trace import SpanKind

    span = _provider.get_tracer("headrace").start_span(
        name,
        context=_context(parent),
        kind=SpanKind[kind.upper()],
        attributes={key.replace("__", "."): value for key, value in attributes.items()},
        start_time=began_ns,
    )
    return Span(span)


def record(name: str, kind: Kind, *, parent: str | None, began_ns: int, **attributes: Any) -> None:
    """A span of something that is over by now; nothing while tracing is off."""
    span = begin(name, kind, parent=parent, began_ns=began_ns, **attributes)
    if span is not None:
        span.end()


def now_ns() -> int:
    """The time for `record`; 0 while tracing is off."""
    return time.time_ns() if _provider is not None else 0


@contextmanager
def request(name: str, header: str | None) -> Iterator[Span | None]:
    """Around a request: in here `current` is its span, or without tracing what its `traceparent` says."""
    parent = header if header is not None and _FORM.fullmatch(header) else None
    span = begin(name, "server", parent=parent)
    if span is not None:
        try:
            with span.around():
                yield span
        finally:
            span.end()  # one whose client went away
        return
    token = _parent.set(parent)
    try:
        yield None
    finally:
        _parent.reset(token)


def _context(parent: str | None) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {"traceparent": parent} if parent else {}
    return TraceContextTextMapPropagator().extract(carrier, context=Context())
