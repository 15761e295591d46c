"""Hostile requests, byte by byte: whatever comes is answered in our words, and the next client is served."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

CANARY = "canary-7f3a"
BODY = {
    "type": "any", "payload": {"deep": [{"x": CANARY}], "n": 10**30, "t": "\u0000\ud7ff"}, "priority": "high",
    "delay_seconds": 0, "run_at": None, "timeout_seconds": 60, "max_retries": 3, "expires_in_seconds": 9.5,
    "tags": {"team": CANARY},
}  # fmt: skip
PIECES = (
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"{" * 70, b"[" * 2000, b'"', b"\\u0000", b"\\ud800", b"NaN", b"-Infinity",
    b"1e999", b"-0", b"9" * 400, b"null", b'{"$ne":1}', b',"type":"echo"', b"}", b"\r\n\r\n", b"\xf0\x9f\x92\xa9",
)  # fmt: skip
HEADS = (
    b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
)  # fmt: skip
HEAD_PIECES = (
    b"\x00", b"\r\n", b"\n", b" ", b":", b"%00", b"%zz", b"/../", b"\x80", b"A" * 9000, b"Content-Length: -1\r\n",
    b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Transfer-Encoding: gzip\r\n", b"HTTP/9.9",
    b"Expect: 100-continue\r\n",
)  # fmt: skip
GOOD, OURS = {200, 201}, {400, 401, 403, 404, 405, 409, 413, 415, 422, 429}


def spoiled(rng: random.Random, text: bytes, pieces: tuple[bytes, ...]) -> bytes:
    """A text with up to three things done to it."""
    raw = bytearray(text)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(5):
            case 0:
                raw[at:at] = rng.choice(pieces)
            case 1:
                del raw[at : at + rng.randint(1, 12)]
            case 2:
                raw[at : at + 1] = bytes([rng.randrange(256)])
            case 3:
                raw[at:] = b""
            case _:
                raw[at:at] = raw[: rng.randint(1, 60)]
    return bytes(raw)


@pytest.mark.parametrize("count", [150, pytest.param(4000, marks=pytest.mark.slow)])
async def test_a_spoiled_body_is_accepted_or_refused_in_our_words(api, count):
    await api.complete()
    rng = random.Random(count)
    text = json.dumps(BODY, ensure_ascii=False).encode()
    seen = set()
    for _ in range(count):
        raw = spoiled(rng, text, PIECES)
        response = await api.post(raw=raw, **rng.choice([{}, {}, {"Idempotency-Key": str(rng.randrange(20))}]))
        told = await response.text()
        assert response.status in GOOD | OURS, (response.status, raw)
        if response.status in GOOD:
            assert json.loads(told)["state"] == "queued"
            await api.cancel(json.loads(told)["id"])
        else:
            assert response.content_type == "application/problem+json", raw
            assert CANARY not in told, ("an error repeats what was sent", raw)
            assert "Traceback" not in told
        seen.add(response.status)
    assert seen >= {201, 400, 422}, "the bodies are no longer spoiled in every way"
    assert (await api.submit())["state"] == "queued"


@pytest.mark.parametrize("count", [80, pytest.param(500, marks=pytest.mark.slow)])
async def test_a_spoiled_request_ends_its_own_connection_at_most(api, count):
    await api.complete()
    rng = random.Random(count)
    answered = 0
    for _ in range(count):
        raw = spoiled(rng, rng.choice(HEADS), HEAD_PIECES)
        reader, writer = await asyncio.open_connection(api.client.host, api.client.port)
        try:
            writer.write(raw)
            answer = await asyncio.wait_for(reader.read(65536), 0.2)
        except (ConnectionError, TimeoutError):
            answer = b""  # it ended the connection, or waits for the rest of what is no whole request
        finally:
            writer.close()
        if answer:
            answered += 1
            assert answer.startswith(b"HTTP/"), raw  # also to a line of HTTP/0.9, which has no version
            assert answer.split(b" ")[1][:1] in {b"1", b"2", b"4"}, (answer[:80], raw)
            assert b"Traceback" not in answer
    assert answered > count / 10, "the requests are spoiled beyond being requests, and show nothing"
    assert (await api.submit())["state"] == "queued"
