"""One trace from the request that submits a job to its settlement, as a collector receives it."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.testing.eventually import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def test_submit_claim_run_and_settle_are_one_trace(start):
    spans: dict[str, tuple[str, str, str]] = {}

    async def take(request: web.Request) -> web.Response:
        for resource in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                if span.trace_id.hex() == TRACE:
                    spans[span.name] = (span.span_id.hex(), span.parent_span_id.hex(), str(span.kind))
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    async with TestServer(app) as collector:
        whole = await start(
            OTEL_EXPORTER_OTLP_ENDPOINT=str(collector.make_url("")).rstrip("/"), OTEL_BSP_SCHEDULE_DELAY="200"
        )
        async with (
            ClientSession() as session,
            session.post(
                whole.system.urls["scheduler"] + "/v1/jobs",
                json={"type": "test.sleep", "payload": {"seconds": 0.05}},
                headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
            ) as answer,
        ):
            job_id = (await answer.json())["id"]
        await whole.until_state(job_id, "completed")
        stored = (await whole.document(job_id))["traceparent"]

        async def whole_trace() -> bool:
            names = {"POST /v1/jobs", "receive test", "process test", "settle test"}
            return names <= set(spans)

        await eventually(whole_trace, within=20, what=f"the trace is whole: {sorted(spans)}")
    submit = spans["POST /v1/jobs"]
    assert stored == f"00-{TRACE}-{submit[0]}-01"
    assert submit[1] == "b7ad6b7169203331"
    assert spans["receive test"][1] == spans["process test"][1] == submit[0]
    assert spans["settle test"][1] == spans["process test"][0]
