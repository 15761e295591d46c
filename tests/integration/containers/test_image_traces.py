"""An image that is built with `OTEL=1` sends traces to the collector it is told; the plain one says what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from testcontainers.core.network import Network

from headrace.testing.eventually import eventually

from .engine import Images, docker
from .node import Node
from .system import owned, service_node, settings, write_tokens

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

COLLECTOR = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print(self.path, b"headrace-scheduler" in body, flush=True)
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("0.0.0.0", 4318), Handler).serve_forever()
"""
TOLD = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_BSP_SCHEDULE_DELAY": "200"}


@pytest.mark.parametrize("extra", [True, False], ids=["with the extra", "plain"])
async def test_traces_are_sent_by_an_image_that_can(images: Images, tmp_path: Path, extra: bool) -> None:
    write_tokens(owned(tmp_path))
    (tmp_path / "effects").mkdir()
    tag = images.of("scheduler")
    if extra:
        tag += "-otel"
        docker("build", "--quiet", "-f", "services/scheduler/Dockerfile", "-t", tag, "--build-arg", "OTEL=1", ".",
               seconds=300)  # fmt: skip
    try:
        with Network() as network:
            # No stores: a request is traced whatever becomes of it.
            nodes = [
                Node("collector", "python:3.12-slim", [network], port=4318, command=["python", "-c", COLLECTOR]),
                service_node("scheduler", tag, [network], tmp_path, settings("nowhere:27017") | TOLD),
            ]
            try:
                collector, scheduler = (node.start() for node in nodes)

                def says() -> bool:
                    scheduler.get("/v1/jobs")
                    if extra:
                        return "/v1/traces True" in collector.logs()
                    return "install the extra 'otel'" in scheduler.logs()

                await eventually(says, within=60, every=0.5, what="a trace, or the word that there is none")
                assert ("/v1/traces" in collector.logs()) is extra
            finally:
                for node in nodes:
                    node.remove()
    finally:
        if extra:
            docker("rmi", "--force", tag)
