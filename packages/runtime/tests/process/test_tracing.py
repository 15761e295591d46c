"""Traces, with a collector that takes what the exporter really sends."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.contracts.config import JobConfig
from headrace.runtime.process import tracing
from headrace.runtime.web.app import make_app
from headrace.runtime.web.responses import json_response
from headrace.runtime.web.routes import Route

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch) -> Iterator[list]:
    found: list = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                found.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield found
        tracing.stop()
        server.shutdown()
        thread.join()


async def ask(header: str | None, status: int = 200) -> str | None:
    async def handler(_request):
        if status == 500:
            raise RuntimeError
        return json_response({"seen": tracing.current()})

    app = make_app(
        JobConfig(), name="test", routes=[Route("GET", "/a/{id}", handler, scope=None)], checks={}, tokens=None
    )
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/a/7", headers={} if header is None else {"traceparent": header})
        return (await answer.json()).get("seen")


@pytest.mark.parametrize(
    ("header", "seen"),
    [
        (PARENT, PARENT),
        (None, None),
        ("nonsense", None),
        (PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32), None),
    ],
)
async def test_without_a_collector_what_the_request_says_is_kept_and_nothing_is_made(monkeypatch, header, seen):
    for name in tracing.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    assert not tracing.start("test")
    assert await ask(header) == seen
    assert tracing.begin("x", "internal", parent=None) is None
    assert (tracing.now_ns(), tracing.current()) == (0, None)
    tracing.stop()


def test_it_can_be_disabled_although_a_collector_is_named(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "TRUE")
    assert not tracing.start("test")


async def test_a_request_is_a_span_below_its_callers_and_what_follows_hangs_below_it(spans):
    assert tracing.start("test")
    seen = await ask(PARENT)
    assert seen is not None
    assert seen.split("-")[1] == PARENT.split("-")[1]
    assert seen != PARENT
    tracing.record("settle p", "client", parent=seen, began_ns=tracing.now_ns(), job__id="j")
    await ask(None, status=500)
    tracing.stop()
    request, settle, failed = sorted(spans, key=lambda span: span.start_time_unix_nano)
    assert (request.name, request.parent_span_id.hex()) == ("GET /a/{id}", PARENT.split("-")[2])
    assert (settle.trace_id, settle.parent_span_id) == (request.trace_id, request.span_id)
    assert {item.key: item.value.string_value for item in settle.attributes} == {"job.id": "j"}
    assert failed.trace_id != request.trace_id
    assert failed.status.code == 2
