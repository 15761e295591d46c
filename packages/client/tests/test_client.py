from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import BaseModel

from headrace.client import Client, NotReachableError
from headrace.client.environment import Access, read_access
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


async def test_a_submission_sends_what_it_was_given_and_returns_the_job(server: Any, client: Client) -> None:
    server.answers = [web.json_response(server.job(a_later_field=1), status=201)]
    found = await client.submit("noop", {"n": 2**70}, priority="high", tags={"a": "b"})
    assert found.id == JOB_ID
    [(method, path, headers, body)] = server.requests
    assert (method, path) == ("POST", "/base/v1/jobs")
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"] == "application/json"
    assert body == {"type": "noop", "payload": {"n": 2**70}, "priority": "high", "tags": {"a": "b"}}


async def test_one_idempotency_key_goes_through_all_tries_and_a_new_one_with_the_next(
    server: Any, client: Client
) -> None:
    busy = server.problem("store-unavailable", 503, {"Retry-After": "0"})
    server.answers = [
        busy,
        web.json_response(server.job()),
        web.json_response(server.job()),
        web.json_response(server.job()),
    ]
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
    server: Any, client: Client, code: str, status: int, kind: type[ApiError]
) -> None:
    server.answers = [server.problem(code, status, {"Retry-After": "0"}, id=JOB_ID) for _ in range(9)]
    with pytest.raises(kind) as caught:
        await client.submit("noop", {})
    assert len(server.requests) == 3
    assert caught.value.job_id == JOB_ID
    assert caught.value.retry_after_seconds == 0


async def test_a_wait_longer_than_bearable_is_not_begun(server: Any, client: Client) -> None:
    server.answers = [server.problem("rate-limited", 429, {"Retry-After": "3600"})]
    with pytest.raises(ApiError) as caught:
        await client.get(JOB_ID)
    assert caught.value.retry_after_seconds == 3600
    assert len(server.requests) == 1


async def test_a_refusal_is_not_tried_again_and_says_which_field(server: Any, client: Client) -> None:
    errors = [{"in": "body", "pointer": "/payload/n", "code": "int_type", "detail": "must be an integer"}]
    server.answers = [server.problem("invalid-payload", 422, errors=errors)]
    with pytest.raises(ValidationFailedError, match="about invalid-payload") as caught:
        await client.submit("noop", {})
    assert caught.value.errors[0].pointer == "/payload/n"
    assert len(server.requests) == 1


async def test_a_duplicate_names_the_other_job(server: Any, client: Client) -> None:
    server.answers = [server.problem("duplicate-job", 409, id="other")]
    with pytest.raises(DuplicateJobError) as caught:
        await client.submit("noop", {}, unique_key="k")
    assert caught.value.job_id == "other"


async def test_the_first_try_still_under_way_is_waited_for(server: Any, client: Client) -> None:
    server.answers = [server.problem("idempotency-in-flight", 409), web.json_response(server.job())]
    assert (await client.submit("noop", {})).id == JOB_ID


async def test_answers_that_are_no_problem_documents_are_still_errors(server: Any, client: Client) -> None:
    server.answers = [web.Response(status=403, text="<html>"), web.Response(status=200, text="hello")]
    with pytest.raises(ApiError, match="403") as caught:
        await client.get(JOB_ID)
    assert (caught.value.code, caught.value.status) == ("http-403", 403)
    with pytest.raises(ApiError, match="not JSON"):
        await client.get(JOB_ID)


async def test_a_gateway_without_a_server_behind_it_is_asked_again(server: Any, client: Client) -> None:
    server.answers = [web.Response(status=502, text="<html>"), web.json_response(server.job())]
    assert (await client.get(JOB_ID)).id == JOB_ID


async def test_a_redirect_is_refused_so_that_the_token_stays(server: Any, client: Client) -> None:
    server.answers = [web.Response(status=302, headers={"Location": "/elsewhere"})]
    with pytest.raises(ApiError, match="302"):
        await client.get(JOB_ID)
    assert len(server.requests) == 1


async def test_an_id_that_is_none_asks_nobody(server: Any, client: Client) -> None:
    for wrong in ("", "..", "a/b", "x?y"):
        with pytest.raises(NotFoundError):
            await client.get(wrong)
    assert server.requests == []


async def test_wait_returns_the_job_once_it_is_over(server: Any, client: Client) -> None:
    server.answers = [web.json_response(server.job(state=state)) for state in ("queued", "processing", "failed")]
    assert (await client.wait(JOB_ID)).state is JobState.FAILED


async def test_wait_gives_up_in_time(server: Any, client: Client) -> None:
    server.answers = [lambda _: web.json_response(server.job())] * 50
    with pytest.raises(TimeoutError, match="still queued"):
        await client.wait(JOB_ID, timeout=0.2)


async def test_pages_follow_the_cursor_to_the_end(server: Any, client: Client) -> None:
    page = {"url": "http://a/", "final_url": None, "state": "ok", "status": 200, "depth": 0, "title": None, "bytes": 1}
    first = {"pages": [page | {"error": None}], "next_cursor": "c+1"}
    last = {"pages": [page | {"error": "x", "url": "http://a/b"}], "next_cursor": None}
    server.answers = [web.json_response(first), web.json_response(last)]
    assert [found.url async for found in client.pages(JOB_ID)] == ["http://a/", "http://a/b"]
    assert server.requests[1][1] == f"/base/v1/jobs/{JOB_ID}/pages?cursor=c%2B1"


async def test_history_and_cancel_speak_to_their_paths(server: Any, client: Client) -> None:
    step = {
        "seq": 0, "from": None, "to": "queued", "attempt": 0, "owner": None, "at": "2025-01-01T00:00:00.000Z",
        "reason": "submitted",
    }  # fmt: skip
    server.answers = [
        web.json_response({"transitions": [step], "errors": []}),
        web.json_response(server.job(state="cancelled")),
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
    for wrong in ("", "ftp://a", "http://", "http://a/?x=1", "http://a:b", "http://[", "127.0.0.1:8080"):
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
    assert (error.code, error.status) == ("teapot", 418)
    assert "teapot: short" in str(error)
    assert ApiError.code == "internal"
    known = error_of(422, {"Allow": "GET, HEAD"}, b'{"type": "/problems/validation", "errors": [1, {}]}')
    assert isinstance(known, ValidationFailedError)
    assert known.allow == ("GET", "HEAD")
    assert len(known.errors) == 1


async def test_many_are_submitted_a_thousand_at_a_time_each_with_its_own_outcome(server: Any, client: Client) -> None:
    full = {"type": "/problems/queue-full", "title": "t", "status": 429, "detail": "full", "id": "x"}
    first = [{"index": n, "status": 201, "job": server.job()} for n in range(999)] + [
        {"index": 999, "status": 429, "problem": full}
    ]
    second = [{"index": 0, "status": 200, "job": server.job(state="completed")}]
    server.answers = [
        server.problem("store-unavailable", 503, {"Retry-After": "0"}),
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


async def test_a_replay_carries_one_key_through_its_tries(server: Any, client: Client) -> None:
    server.answers = [
        server.problem("store-unavailable", 503, {"Retry-After": "0"}),
        web.json_response(server.job(replay_of="old")),
    ]
    assert (await client.replay(JOB_ID)).replay_of == "old"
    assert [path for _, path, _, _ in server.requests] == [f"/base/v1/jobs/{JOB_ID}/replay"] * 2
    assert len({headers["Idempotency-Key"] for _, _, headers, _ in server.requests}) == 1


async def test_why_tells_the_reasons(server: Any, client: Client) -> None:
    server.answers = [
        web.json_response({"reasons": [{"code": "behind", "detail": "d"}], "position": 3, "eta_seconds": 1.5, "new": 1})
    ]
    why = await client.why(JOB_ID)
    assert (why.position, why.reasons[0].code) == (3, "behind")


async def test_requests_go_over_one_connection(server: Any, client: Client) -> None:
    server.answers = [lambda _: web.json_response(server.job())] * 5
    for _ in range(5):
        await client.get(JOB_ID)
    assert len(set(server.peers)) == 1


async def test_options_that_are_none_are_not_sent_and_times_carry_their_zone(server: Any, client: Client) -> None:
    server.answers = [web.json_response(server.job())]
    later = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    await client.submit("noop", 1, run_at=later, priority=None, tags=None)
    assert server.requests[0][3] == {"type": "noop", "payload": 1, "run_at": "2030-01-01T10:00:00.000Z"}
    with pytest.raises(ValueError, match="run_at must have a time zone"):
        await client.submit("noop", 1, run_at=datetime(2030, 1, 1))
    assert len(server.requests) == 1


async def test_payloads_may_be_models_and_nothing_that_is_not_json(server: Any, client: Client) -> None:
    class Payload(BaseModel):
        at: datetime

    server.answers = [web.json_response(server.job())]
    await client.submit("noop", [Payload(at=datetime(2030, 1, 1, tzinfo=UTC))])
    assert server.requests[0][3]["payload"] == [{"at": "2030-01-01T00:00:00Z"}]
    with pytest.raises(TypeError, match="set"):
        await client.submit("noop", {1})


async def test_wait_outlives_a_server_that_is_away_for_a_while(server: Any) -> None:
    async with Client(server.url, tries=1, patience_seconds=30) as client:

        def away(_: object) -> web.Response:
            return server.problem("store-unavailable", 503, {"Retry-After": "0"})

        server.answers = [away, away, web.json_response(server.job(state="completed"))]
        assert (await client.wait(JOB_ID)).state is JobState.COMPLETED
    async with Client(server.url, tries=1, patience_seconds=0) as client:
        server.answers = [away] * 9
        with pytest.raises(StoreUnavailableError):
            await client.wait(JOB_ID)


async def test_waiting_for_all_says_which_is_late(server: Any, client: Client) -> None:
    server.answers = [lambda _: web.json_response(server.job(state="completed"))] * 3
    assert len(await client.wait_all([JOB_ID] * 3, timeout=5)) == 3
    server.answers = [lambda _: web.json_response(server.job())] * 50
    with pytest.raises(TimeoutError, match="still queued"):
        await client.wait_all([JOB_ID], timeout=0.2)


async def test_operators_calls_send_what_they_were_given(server: Any, client: Client) -> None:
    done = {"matched": 2, "done": 1, "refused": [{"id": "a", "code": "queue-full"}]}
    server.answers = [
        web.json_response(done),
        web.json_response(done),
        web.json_response({"name": "mail/one"}),
        web.json_response({"entries": [], "next_cursor": None}),
    ]
    found = await client.replay_dead_letters(ids=["a"], type="noop", pool=None, limit=5, dry_run=True)
    assert (found.done, found.refused[0].code) == (1, "queue-full")
    await client.discard_dead_letters(fingerprint="f")
    assert (await client.reset_breaker("mail/one")).name == "mail/one"
    assert [entry async for entry in client.audit()] == []
    assert [(path, body) for _, path, _, body in server.requests] == [
        ("/base/v1/dead-letters/replay", {"filter": {"type": "noop", "ids": ["a"]}, "limit": 5, "dry_run": True}),
        ("/base/v1/dead-letters/discard", {"filter": {"fingerprint": "f"}, "limit": 1000, "dry_run": False}),
        ("/base/v1/breakers/mail%2Fone/reset", None),
        ("/base/v1/audit?limit=200", None),
    ]
    with pytest.raises(NotFoundError):
        await client.reset_breaker("..")


def test_the_environment_says_where_and_who(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert read_access({}) == Access("http://127.0.0.1:8080", None)
    assert read_access({"HEADRACE_URL": "http://h:1", "HEADRACE_TOKEN": "t"}) == Access("http://h:1", "t")
    assert read_access({"HEADRACE_TOKEN_FILE": str(file)}).token == "from-file"
    assert "from-file" not in repr(read_access({"HEADRACE_TOKEN_FILE": str(file)}))
    file.write_bytes(b"\xff")
    for wrong in ({"HEADRACE_TOKEN": "t", "HEADRACE_TOKEN_FILE": "f"}, {"HEADRACE_TOKEN_FILE": str(file)}, {
        "HEADRACE_TOKEN_FILE": str(tmp_path / "none")
    }):  # fmt: skip
        with pytest.raises(ConfigError, match="HEADRACE_TOKEN"):
            read_access(wrong)
