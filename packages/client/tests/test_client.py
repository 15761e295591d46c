from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from headrace.client import Client, NotReachableError
from headrace.client.problems import error_of, retry_after
from headrace.contracts.errors import (
    ApiError,
    ConfigError,
    DuplicateJobError,
    NotFoundError,
    OutcomeUnknownError,
    QueueFullError,
    StoreUnavailableError,
    ValidationFailedError,
)
from headrace.contracts.states import JobState

JOB_ID = "0199aaaa-0000-7000-8000-000000000001"


def job(**changes: Any) -> dict[str, Any]:
    now = "2025-01-01T00:00:00.000Z"
    return {
        "id": JOB_ID, "type": "noop", "pool": "default", "priority": "medium", "state": "queued", "indexed": True,
        "attempt": 0, "failures": 0, "crashes": 0, "max_retries": 3, "timeout_seconds": 60.0, "created_at": now,
        "run_at": now, "claimed_at": None, "started_at": None, "finished_at": None, "progress": None,
        "checkpoint_at": None, "cancel_requested_at": None, "error": None, "tags": {}, "owner": None,
        "unique_key": None, "replay_of": None, "discarded_at": None, "payload": {}, "result": None,
    } | changes  # fmt: skip


def problem(code: str, status: int, headers: dict[str, str] | None = None, **more: Any) -> web.Response:
    document = {"type": f"/problems/{code}", "title": code, "status": status, "detail": f"about {code}"} | more
    return web.json_response(document, status=status, headers=headers, content_type="application/problem+json")


class Server:
    """A real HTTP server that answers what the test lays out, one answer per request."""

    def __init__(self) -> None:
        self.answers: list[Callable[[], web.StreamResponse] | web.StreamResponse] = []
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path_qs, dict(request.headers), body))
        answer = self.answers.pop(0)
        return answer() if callable(answer) else answer


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/base/"
    yield found
    await runner.cleanup()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(server.url, token="secret", tries=3) as client:
        yield client


async def test_a_submission_sends_what_it_was_given_and_returns_the_job(server: Server, client: Client) -> None:
    server.answers = [web.json_response(job(a_later_field=1), status=201)]
    found = await client.submit("noop", {"n": 2**70}, priority="high", tags={"a": "b"})
    assert found.id == JOB_ID
    [(method, path, headers, body)] = server.requests
    assert (method, path) == ("POST", "/base/v1/jobs")
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"] == "application/json"
    assert body == {"type": "noop", "payload": {"n": 2**70}, "priority": "high", "tags": {"a": "b"}}


async def test_one_idempotency_key_goes_through_all_tries_and_a_new_one_with_the_next(
    server: Server, client: Client
) -> None:
    busy = problem("store-unavailable", 503, {"Retry-After": "0"})
    server.answers = [busy, web.json_response(job()), web.json_response(job()), web.json_response(job())]
    await client.submit("noop", {})
    await client.submit("noop", {})
    await client.submit("noop", {}, idempotency_key="mine")
    first, again, other, mine = [headers["Idempotency-Key"] for _, _, headers, _ in server.requests]
    assert first == again
    assert first != other
    assert mine == "mine"


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("queue-full", 429, QueueFullError),
        ("store-unavailable", 503, StoreUnavailableError),
        ("outcome-unknown", 503, OutcomeUnknownError),
    ],
)
async def test_a_busy_server_is_asked_a_bounded_number_of_times(
    server: Server, client: Client, code: str, status: int, kind: type[ApiError]
) -> None:
    server.answers = [problem(code, status, {"Retry-After": "0"}, id=JOB_ID) for _ in range(9)]
    with pytest.raises(kind) as caught:
        await client.submit("noop", {})
    assert len(server.requests) == 3
    assert caught.value.job_id == JOB_ID
    assert caught.value.retry_after_seconds == 0


async def test_a_wait_longer_than_bearable_is_not_begun(server: Server, client: Client) -> None:
    server.answers = [problem("rate-limited", 429, {"Retry-After": "3600"})]
    with pytest.raises(ApiError) as caught:
        await client.get(JOB_ID)
    assert caught.value.retry_after_seconds == 3600
    assert len(server.requests) == 1


async def test_a_refusal_is_not_tried_again_and_says_which_field(server: Server, client: Client) -> None:
    errors = [{"in": "body", "pointer": "/payload/n", "code": "int_type", "detail": "must be an integer"}]
    server.answers = [problem("invalid-payload", 422, errors=errors)]
    with pytest.raises(ValidationFailedError, match="about invalid-payload") as caught:
        await client.submit("noop", {})
    assert caught.value.errors[0].pointer == "/payload/n"
    assert len(server.requests) == 1


async def test_a_duplicate_names_the_other_job(server: Server, client: Client) -> None:
    server.answers = [problem("duplicate-job", 409, id="other")]
    with pytest.raises(DuplicateJobError) as caught:
        await client.submit("noop", {}, unique_key="k")
    assert caught.value.job_id == "other"


async def test_the_first_try_still_under_way_is_waited_for(server: Server, client: Client) -> None:
    server.answers = [problem("idempotency-in-flight", 409), web.json_response(job())]
    assert (await client.submit("noop", {})).id == JOB_ID


async def test_answers_that_are_no_problem_documents_are_still_errors(server: Server, client: Client) -> None:
    server.answers = [web.Response(status=502, text="<html>"), web.Response(status=200, text="hello")]
    with pytest.raises(ApiError, match="502"):
        await client.get(JOB_ID)
    with pytest.raises(ApiError, match="not JSON"):
        await client.get(JOB_ID)


async def test_a_redirect_is_refused_so_that_the_token_stays(server: Server, client: Client) -> None:
    server.answers = [web.Response(status=302, headers={"Location": "/elsewhere"})]
    with pytest.raises(ApiError, match="302"):
        await client.get(JOB_ID)
    assert len(server.requests) == 1


async def test_an_id_that_is_none_asks_nobody(server: Server, client: Client) -> None:
    for wrong in ("", "..", "a/b", "x?y"):
        with pytest.raises(NotFoundError):
            await client.get(wrong)
    assert server.requests == []


async def test_wait_returns_the_job_once_it_is_over(server: Server, client: Client) -> None:
    server.answers = [web.json_response(job(state=state)) for state in ("queued", "processing", "failed")]
    assert (await client.wait(JOB_ID)).state is JobState.FAILED


async def test_wait_gives_up_in_time(server: Server, client: Client) -> None:
    server.answers = [lambda: web.json_response(job())] * 50
    with pytest.raises(TimeoutError, match="still queued"):
        await client.wait(JOB_ID, timeout=0.2)


async def test_pages_follow_the_cursor_to_the_end(server: Server, client: Client) -> None:
    page = {"url": "http://a/", "final_url": None, "state": "ok", "status": 200, "depth": 0, "title": None, "bytes": 1}
    first = {"pages": [page | {"error": None}], "next_cursor": "c+1"}
    last = {"pages": [page | {"error": "x", "url": "http://a/b"}], "next_cursor": None}
    server.answers = [web.json_response(first), web.json_response(last)]
    assert [found.url async for found in client.pages(JOB_ID)] == ["http://a/", "http://a/b"]
    assert server.requests[1][1] == f"/base/v1/jobs/{JOB_ID}/pages?cursor=c%2B1"


async def test_history_and_cancel_speak_to_their_paths(server: Server, client: Client) -> None:
    step = {
        "seq": 0, "from": None, "to": "queued", "attempt": 0, "owner": None, "at": "2025-01-01T00:00:00.000Z",
        "reason": "submitted",
    }  # fmt: skip
    server.answers = [
        web.json_response({"transitions": [step], "errors": []}),
        web.json_response(job(state="cancelled")),
    ]
    assert (await client.history(JOB_ID)).transitions[0].to is JobState.QUEUED
    assert (await client.cancel(JOB_ID)).state is JobState.CANCELLED
    assert [(method, path) for method, path, _, _ in server.requests] == [
        ("GET", f"/base/v1/jobs/{JOB_ID}/history"),
        ("POST", f"/base/v1/jobs/{JOB_ID}/cancel"),
    ]


async def test_a_server_that_is_not_there_is_said_to_be_so(unused_tcp_port: int) -> None:
    async with Client(f"http://user:pw@127.0.0.1:{unused_tcp_port}", tries=2) as client:
        with pytest.raises(NotReachableError, match=f"127.0.0.1:{unused_tcp_port}") as caught:
            await client.get(JOB_ID)
    assert "pw" not in str(caught.value)


async def test_a_server_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are made, nobody takes them up
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with Client(url, tries=1, timeout_seconds=0.2) as client:
            with pytest.raises(NotReachableError, match="no answer"):
                await client.get(JOB_ID)


def test_an_address_that_is_none_is_refused() -> None:
    for wrong in ("", "ftp://a", "http://", "http://a/?x=1"):
        with pytest.raises(ConfigError, match="base_url"):
            Client(wrong)


async def test_a_client_that_was_not_opened_says_how_to_use_it() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Client("http://127.0.0.1:1").get(JOB_ID)


def test_retry_after_is_read_in_both_forms() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 < (retry_after(later) or 0) <= 60
    assert retry_after("1.5") == 1.5
    assert retry_after("-3") == 0
    assert retry_after("soon") is None
    assert retry_after("nan") is None
    assert retry_after(None) is None


def test_a_code_from_the_future_keeps_its_words() -> None:
    error = error_of(
        418, {}, b'{"type": "/problems/teapot", "title": "T", "status": 418, "detail": "short", "errors": 3}'
    )
    assert type(error) is ApiError
    assert "teapot: short" in str(error)
    known = error_of(422, {"Allow": "GET, HEAD"}, b'{"type": "/problems/validation", "errors": [1, {}]}')
    assert isinstance(known, ValidationFailedError)
    assert known.allow == ("GET", "HEAD")
    assert len(known.errors) == 1


async def test_many_are_submitted_a_thousand_at_a_time_each_with_its_own_outcome(
    server: Server, client: Client
) -> None:
    full = {"type": "/problems/queue-full", "title": "t", "status": 429, "detail": "full", "id": "x"}
    first = [{"index": n, "status": 201, "job": job()} for n in range(999)] + [
        {"index": 999, "status": 429, "problem": full}
    ]
    second = [{"index": 0, "status": 200, "job": job(state="completed")}]
    server.answers = [
        problem("store-unavailable", 503, {"Retry-After": "0"}),
        web.json_response({"results": first}),
        web.json_response({"results": second}),
    ]
    outcomes = await client.submit_many(
        [{"type": "noop", "payload": n} for n in range(1000)] + [{"type": "noop", "payload": 1, "idempotency_key": "k"}]
    )
    assert len(outcomes) == 1001
    assert isinstance(outcomes[999], QueueFullError)
    assert (outcomes[999].detail, outcomes[999].job_id) == ("full", "x")
    assert outcomes[1000].state is JobState.COMPLETED
    sent = [body["jobs"] for _, _, _, body in server.requests]
    assert sent[0] == sent[1], "the same keys in every try"
    assert len({item["idempotency_key"] for item in sent[0]}) == 1000
    assert sent[2] == [{"type": "noop", "payload": 1, "idempotency_key": "k"}]


async def test_a_replay_carries_one_key_through_its_tries(server: Server, client: Client) -> None:
    server.answers = [problem("store-unavailable", 503, {"Retry-After": "0"}), web.json_response(job(replay_of="old"))]
    assert (await client.replay(JOB_ID)).replay_of == "old"
    assert [path for _, path, _, _ in server.requests] == [f"/base/v1/jobs/{JOB_ID}/replay"] * 2
    assert len({headers["Idempotency-Key"] for _, _, headers, _ in server.requests}) == 1


async def test_why_tells_the_reasons(server: Server, client: Client) -> None:
    server.answers = [
        web.json_response({"reasons": [{"code": "behind", "detail": "d"}], "position": 3, "eta_seconds": 1.5, "new": 1})
    ]
    why = await client.why(JOB_ID)
    assert (why.position, why.reasons[0].code) == (3, "behind")
