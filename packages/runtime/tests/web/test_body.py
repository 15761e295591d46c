from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

import pytest
from aiohttp import web
from pydantic import BaseModel, ConfigDict

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import MalformedJsonError, ValidationFailedError
from headrace.contracts.submission import JobSubmission
from headrace.runtime.web import body
from headrace.runtime.web.app import make_app
from headrace.runtime.web.body import is_too_deep, parse_json, read_body, read_raw_body
from headrace.runtime.web.responses import json_text_response
from headrace.runtime.web.routes import Route

LIMIT = 2000
JSON = {"Content-Type": "application/json"}


class Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    value: Any


async def raw(request: web.Request) -> web.Response:
    return json_text_response((await read_raw_body(request, LIMIT)).decode())


async def submit(request: web.Request) -> web.Response:
    return json_text_response((await read_body(request, JobSubmission)).model_dump_json())


async def plain(request: web.Request) -> web.Response:
    return json_text_response((await read_body(request, Plain)).model_dump_json())


ROUTES = [Route("POST", "/raw", raw), Route("POST", "/submit", submit), Route("POST", "/plain", plain)]


@pytest.fixture
async def client(serve):
    return await serve(*ROUTES)


async def post(client, path: str, data: Any, headers: dict[str, str] = JSON) -> tuple[int, dict]:
    answer = await client.post(path, data=data, headers=headers)
    if answer.status != 200:
        assert answer.content_type == "application/problem+json"
    return answer.status, json.loads(await answer.text())


@pytest.mark.parametrize("text", ['{"a": 1.10, "a": 2}', "[]", "3", '"x"', " null ", "1" * 1500, '{"a": 1e400}'])
async def test_json_passes_as_it_came(client, text):
    answer = await client.post("/raw", data=text, headers=JSON)
    assert (answer.status, await answer.text()) == (200, text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"  ",
        b"{",
        b"{'a': 1}",
        b"[1,]",
        b'{"a": NaN}',
        b"Infinity",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b"\xef\xbb\xbf{}",
        b"1 2",
        b"01",
        b"\x00",
    ],
)
async def test_what_is_not_json_is_malformed(client, data):
    status, problem = await post(client, "/raw", data)
    assert (status, problem["type"]) == (400, "/problems/malformed-json")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "br"},
    ],
)
async def test_another_media_type_or_coding_is_refused(client, headers):
    status, problem = await post(client, "/raw", b"{}", headers)
    assert (status, problem["type"]) == (415, "/problems/unsupported-media-type")


async def test_no_media_type_is_refused(client):
    answer = await client.post("/raw", data=b"{}", skip_auto_headers=["Content-Type"])
    assert answer.status == 415


async def test_a_utf8_charset_may_be_named(client):
    assert (await post(client, "/raw", b"{}", {"Content-Type": "application/json; charset=UTF-8"}))[0] == 200


async def chunks(size: int):
    for _ in range(size // 500):
        yield b" " * 500


@pytest.mark.parametrize("data", [b" " * (LIMIT + 1), chunks(LIMIT + 1000)])
async def test_a_body_over_the_limit_is_too_large_announced_or_not(client, data):
    status, problem = await post(client, "/raw", data)
    assert (status, problem["type"], problem["detail"]) == (413, "/problems/too-large", "the body may have 2000 bytes")


@pytest.mark.parametrize("levels", [65, 500, 100_000])
@pytest.mark.parametrize("pair", ["[]", ('{"a":', "}")])
async def test_a_payload_nested_too_deep_is_refused_whatever_the_depth(client, levels, pair):
    text = '{"type": "t", "payload": ' + pair[0] * levels + "1" + pair[1] * levels + "}"
    status, problem = await post(client, "/submit", text)
    assert status == 422
    assert problem["errors"] == [
        {
            "in": "body",
            "pointer": "/payload",
            "code": "too_deep",
            "detail": "arrays and objects may be 64 levels deep",
        }
    ]


async def test_a_payload_of_64_levels_and_brackets_in_texts_pass(client):
    text = '{"type": "t", "payload": ' + "[" * 64 + json.dumps("[{" * 100 + '\\"]}') + "]" * 64 + "}"
    assert (await post(client, "/submit", text))[0] == 200


async def test_deep_bodies_without_a_payload_are_refused_at_the_root(client):
    status, problem = await post(client, "/plain", '{"value": ' + "[" * 70 + "]" * 70 + "}")
    assert (status, problem["errors"][0]["pointer"]) == (422, "")


async def test_field_errors_name_place_and_rule_but_not_the_value(client):
    status, problem = await post(
        client, "/submit", '{"type": "hunter2!", "payload": {}, "max_retries": true, "extra": "hunter2"}'
    )
    assert status == 422
    assert problem["type"] == "/problems/validation"
    assert {(error["in"], error["pointer"], error["code"]) for error in problem["errors"]} == {
        ("body", "/type", "string_pattern_mismatch"),
        ("body", "/max_retries", "int_type"),
        ("body", "/extra", "extra_forbidden"),
    }
    assert "hunter2" not in json.dumps(problem)


async def test_a_rule_between_fields_is_told_without_a_prefix(client):
    text = '{"type": "t", "payload": 1, "delay_seconds": 5, "run_at": "2030-01-01T00:00:00Z"}'
    problem = (await post(client, "/submit", text))[1]
    assert problem["errors"][0]["detail"] == "delay_seconds and run_at exclude each other"


async def test_long_integers_keep_their_digits_and_absurd_ones_are_refused(client):
    digits = "9" * 4000
    answer = await client.post("/plain", data=f'{{"value": {digits}}}', headers=JSON)
    assert digits in await answer.text()
    status, problem = await post(client, "/plain", '{"value": ' + "9" * 5000 + "}")
    assert (status, problem["errors"][0]["code"]) == (422, "number_too_long")


async def test_a_body_that_does_not_come_is_given_up(client, monkeypatch):
    monkeypatch.setattr(body, "READ_SECONDS", 0.05)
    gate = asyncio.Event()

    async def slow():
        yield b"{"
        await gate.wait()

    sending = asyncio.create_task(post(client, "/raw", slow()))
    status, problem = await sending
    gate.set()
    assert (status, problem["type"]) == (400, "/problems/malformed-json")
    assert "did not arrive" in problem["detail"]


async def test_a_wrongly_framed_body_is_malformed(client):
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(
        b"POST /raw HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"zz\r\n{}\r\n0\r\n\r\n"
    )
    assert (await reader.readline()).split()[1] == b"400"
    writer.close()


async def test_a_client_that_hangs_up_in_its_body_is_no_error_of_ours(caplog):
    begun, over = asyncio.Event(), asyncio.Event()

    async def reads(request: web.Request) -> web.Response:
        begun.set()
        try:
            return json_text_response((await read_raw_body(request, LIMIT)).decode())
        finally:
            over.set()

    # As services are served: aiohttp's test server cancels the handler instead.
    routes = [Route("POST", "/reads", reads)]
    runner = web.AppRunner(make_app(JobConfig(), name="sample", routes=routes, checks={}, tokens=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    _, writer = await asyncio.open_connection(*runner.addresses[0])
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.write(b"POST /reads HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
    await asyncio.wait_for(begun.wait(), 10)
    writer.transport.abort()  # a reset, not an end
    await asyncio.wait_for(over.wait(), 10)
    await runner.cleanup()  # waits for the handler
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_depth_is_counted_without_recursion():
    assert not is_too_deep(b"[" * 64 + b"]" * 64)
    assert is_too_deep(b"[" * 65 + b"]" * 65)
    assert not is_too_deep(b"[" + b"[],{}," * 100 + b"1]")
    assert not is_too_deep(rb'["\"[[[[\\", "' + b"{" * 100 + b'"]')


def test_parsing_keeps_integers_and_refuses_what_is_not_json():
    assert parse_json('{"a": 123456789012345678901234567890}') == {"a": 123456789012345678901234567890}
    for text in ("NaN", "{", b"\xff"):
        with pytest.raises(MalformedJsonError):
            parse_json(text)
    for text in ("[" * 100_000 + "]" * 100_000, "1" * 5000):
        with pytest.raises(ValidationFailedError):
            parse_json(text)
