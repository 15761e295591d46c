from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from headrace.runtime.process.runner import Runner


async def ask(port: int, raw: bytes) -> tuple[bytes, dict[str, object]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    await writer.drain()
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head, json.loads(body)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /" + b"secret" * 2000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"secret" * 3000 + b"\r\n\r\n",
        b"\x16\x03\x01secret\r\n\r\n",
        b"GET /%20secret HTTP/9.9\r\n\r\n",
    ],
    ids=["long line", "long header", "no HTTP", "another version"],
)
async def test_what_is_no_http_is_a_problem_document_that_repeats_nothing(raw: bytes) -> None:
    async def hello(_request: web.Request) -> web.Response:
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/", hello)
    runner = Runner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        head, problem = await ask(port, raw)
        assert b" 400 Bad Request" in head.splitlines()[0]
        assert b"application/problem+json" in head
        assert (problem["type"], problem["status"]) == ("about:blank", 400)
        assert "secret" not in json.dumps(problem)
        head, answer = await ask(port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (head.startswith(b"HTTP/1.1 200"), answer) == (True, {})
    finally:
        await runner.cleanup()
