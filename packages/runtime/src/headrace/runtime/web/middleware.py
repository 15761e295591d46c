"""What happens around every request: its id, its one log line, its metrics, and errors as problem documents."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

import structlog
from aiohttp import hdrs, web

from headrace.contracts.errors import ApiError
from headrace.runtime.process import tracing
from headrace.runtime.web import problems
from headrace.runtime.web.metrics import REQUEST_METRICS
from headrace.runtime.web.routes import Handler

REQUEST_ID: Final = web.RequestKey("REQUEST_ID", str)
"""The name of a request in logs and in `X-Request-Id`; made here, so a client cannot forge another's."""

HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    hdrs.CACHE_CONTROL: "no-store",
}
"""On every answer that does not say otherwise."""

ErrorPage = Callable[[web.Request, ApiError], web.StreamResponse | None]
ERROR_PAGE: Final[web.AppKey[ErrorPage]] = web.AppKey("ERROR_PAGE")
"""Answers an error for people; None: the problem document will do."""

log = structlog.get_logger(__name__)


@web.middleware
async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Run the handler and answer whatever it raises."""
    request[REQUEST_ID] = secrets.token_hex(8)
    began = time.perf_counter()
    route = request.match_info.route.resource
    name = f"{request.method} {route.canonical if route is not None else 'unmatched'}"
    with (
        structlog.contextvars.bound_contextvars(request_id=request[REQUEST_ID]),
        tracing.request(name, request.headers.get("traceparent")) as span,
    ):
        try:
            response = await _answer(request, handler)
        except web.HTTPException as redirect:
            _done(request, redirect.status, began, span)
            raise
        _done(request, response.status, began, span)
        return response


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        if _has_begun(request):
            raise ConnectionResetError("the answer had begun") from error
        if error.status == 500:
            log.exception("http.failed", error=type(error).__name__)
        return _refusal(request, error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        known = problems.known_http_error(error)
        return problems.of_http_exception(error) if known is None else _refusal(request, known)
    except ConnectionError:
        raise  # the client went away
    except Exception as error:
        log.exception("http.failed", error=type(error).__name__)
        if _has_begun(request):
            # Half an answer cannot be turned into a problem: cut it off, so that it is not taken for a whole one.
            raise ConnectionResetError("the answer had begun") from error
        return _refusal(request, ApiError("something failed here; the log tells it under this X-Request-Id"))


def _refusal(request: web.Request, error: ApiError) -> web.StreamResponse:
    page = request.app.get(ERROR_PAGE)
    answer = page(request, error) if page is not None else None
    return answer if answer is not None else problems.problem_response(error)


def _has_begun(request: web.Request) -> bool:
    return request.writer.output_size > 0


def _done(request: web.Request, status: int, began: float, span: tracing.Span | None) -> None:
    if span is not None:
        span.end(error=str(status) if status >= 500 else None, http__response__status_code=status)
    request.app[REQUEST_METRICS].observe(request, status, began)
    log.debug(
        "http.request",
        method=request.method,
        path=request.path,
        status=status,
        duration_ms=round((time.perf_counter() - began) * 1000, 1),
    )


async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: a middleware would be too late for streams, whose headers are sent inside the handler."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers[hdrs.SERVER] = "headrace"
    if REQUEST_ID in request:
        response.headers["X-Request-Id"] = request[REQUEST_ID]
