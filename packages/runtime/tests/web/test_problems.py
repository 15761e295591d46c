from __future__ import annotations

import asyncio

import pytest
import structlog.testing
from aiohttp import ClientError, web

from headrace.contracts.errors import (
    API_ERRORS,
    ApiError,
    DuplicateJobError,
    OutcomeUnknownError,
    QueueFullError,
    StoreUnavailableError,
)
from headrace.runtime.web.problems import problem_response
from headrace.runtime.web.routes import Route


def raising(error: BaseException):
    async def handler(_request: web.Request) -> web.Response:
        raise error

    return handler


async def answered(serve, error: BaseException):
    client = await serve(Route("GET", "/x", raising(error)))
    return await client.get("/x", allow_redirects=False)


@pytest.mark.parametrize("kind", API_ERRORS, ids=lambda kind: kind.code)
async def test_every_error_is_a_problem_document(serve, kind):
    answer = await answered(serve, kind("what to do"))
    assert (answer.status, answer.content_type) == (kind.status, "application/problem+json")
    assert await answer.json() == {
        "type": f"/problems/{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": "what to do",
    }


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (QueueFullError(retry_after_seconds=2.1), "3"),
        (QueueFullError(retry_after_seconds=0.001), "1"),
        (StoreUnavailableError(), "1"),
        (DuplicateJobError(), None),
    ],
)
async def test_retry_after_is_whole_seconds_and_always_there_when_waiting_helps(serve, error, seconds):
    assert (await answered(serve, error)).headers.get("Retry-After") == seconds


async def test_the_job_is_named_where_the_error_names_one(serve):
    assert (await (await answered(serve, OutcomeUnknownError(job_id="j1"))).json())["id"] == "j1"


async def test_what_aiohttp_refuses_is_a_problem_too(serve):
    client = await serve(
        Route("GET", "/x", raising(web.HTTPRequestEntityTooLarge(1, 2))),
        Route("POST", "/x", raising(web.HTTPConflict())),
    )
    missing = await client.get("/nothing")
    assert (missing.status, (await missing.json())["type"]) == (404, "/problems/not-found")
    wrong = await client.delete("/x")
    assert (wrong.status, (await wrong.json())["type"]) == (405, "/problems/method-not-allowed")
    assert wrong.headers["Allow"] == "GET, HEAD, POST"
    assert (await (await client.get("/x")).json())["type"] == "/problems/too-large"
    other = await client.post("/x")
    assert (other.status, (await other.json())["title"]) == (409, "Conflict")


async def test_a_redirect_stays_one(serve):
    answer = await answered(serve, web.HTTPSeeOther("/y"))
    assert (answer.status, answer.headers["Location"]) == (303, "/y")


async def test_an_unexpected_error_is_internal_and_leaks_nothing(serve):
    with structlog.testing.capture_logs() as logs:
        answer = await answered(serve, RuntimeError("mongodb://user:pw@host said no"))
    text = await answer.text()
    assert answer.status == 500
    assert "/problems/internal" in text
    assert "mongodb" not in text
    failed = next(entry for entry in logs if entry["event"] == "http.failed")
    assert (failed["error"], failed["log_level"]) == ("RuntimeError", "error")
    assert len(answer.headers["X-Request-Id"]) == 16


@pytest.mark.parametrize("error", [RuntimeError("late"), ApiError("late")])
async def test_half_an_answer_is_cut_off_and_not_completed(serve, error):
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        raise error

    client = await serve(Route("GET", "/x", stream))
    answer = await client.get("/x")
    with pytest.raises(ClientError):
        await answer.read()


async def test_a_client_that_goes_away_is_no_failure(serve):
    started = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        started.set()
        raise ConnectionResetError

    client = await serve(Route("GET", "/x", stream))
    with structlog.testing.capture_logs() as logs:
        answer = await client.get("/x")
        with pytest.raises(ClientError):
            await answer.read()
    assert started.is_set()
    assert not [entry for entry in logs if entry["event"] == "http.failed"]


async def test_every_answer_carries_the_common_headers(serve):
    client = await serve()
    for path in ("/healthz", "/nothing"):
        headers = (await client.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Server"] == "headrace"
        assert headers["X-Request-Id"]


async def test_a_forged_request_id_is_not_taken_over(serve):
    client = await serve()
    answer = await client.get("/healthz", headers={"X-Request-Id": "forged"})
    assert answer.headers["X-Request-Id"] != "forged"


def test_allow_can_be_named_by_the_error():
    assert problem_response(ApiError(allow=["GET", "PUT"])).headers["Allow"] == "GET, PUT"
