from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from headrace.client import Client, Event, NotReachableError
from headrace.client.events import MAX_LINE_CHARACTERS, EventParser
from headrace.contracts.api import JobEventView
from headrace.contracts.errors import ApiError, NotFoundError, RateLimitedError

JOB_ID = "0199aaaa-0000-7000-8000-000000000001"


def data(state: str = "queued", message: str | None = None) -> str:
    progress = None if message is None else {"fraction": 0.5, "message": message, "at": "2025-01-01T00:00:00.000Z"}
    view = JobEventView.model_validate(
        {"id": JOB_ID, "type": "noop", "pool": "default", "state": state, "attempt": 1, "progress": progress}
        | {"at": "2025-01-01T00:00:00.000Z"}
    )
    return view.model_dump_json()


def frame(name: str, place: str | None = None, text: str | None = None, **said: Any) -> str:
    line = "" if place is None else f"id: {place}\n"
    return f"event: {name}\n{line}data: {text or data(**said)}\n\n"


def parse(*chunks: bytes) -> list[Event]:
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


STREAM = (
    ": welcome\r\n\r\n" + frame("job.snapshot", "1-0") + "retry: 5\r"
    "event:job.progress\r\nid: 2-0\r\ndata: " + data("processing", "Zeile\u2028zwei \U0001f600") + "\r\r"
    ": still here\n\nevent: job.gap\ndata: {}\n\nevent: ignored\n\n" + frame("job.completed", state="completed")
).encode()  # fmt: skip


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    events = parse(*[STREAM[a:b] for a, b in pairwise(places)])
    assert [(event.name, event.resume_at) for event in events] == [
        ("job.snapshot", "1-0"),
        ("job.progress", "2-0"),
        ("job.gap", "2-0"),
        ("job.completed", "2-0"),
    ]
    assert events[1].job is not None
    assert events[1].job.progress is not None
    assert events[1].job.progress.message == "Zeile\u2028zwei \U0001f600"
    assert [event.is_end for event in events] == [False, False, False, True]


def test_data_of_many_lines_is_one_and_later_fields_are_no_fault() -> None:
    first, second = data().split(",", 1)
    assert len(parse(f'data: {first},\ndata: {second[:-1]}, "new": 1}}\nfuture: x\nnofield\n\n'.encode())) == 1


@pytest.mark.parametrize("text", ["event: job.started\ndata: {\n\n", "data: {}\n\n", "data: 7\n\n"])
def test_what_is_no_event_of_a_job_is_an_error(text: str) -> None:
    with pytest.raises(ApiError, match="no event of a job"):
        parse(text.encode())


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    with pytest.raises(ApiError, match="more than a mebibyte"):
        parse(*[b"x" * 100_000] * (MAX_LINE_CHARACTERS // 100_000 + 1))


def stream(*frames: str, cut: bool = False) -> Callable[[web.Request], Any]:
    """An answer that says these and ends; with `cut` the connection is lost."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for text in frames:
            await response.write(text.encode())
        if cut:
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


async def names(events: Any) -> list[str]:
    return [event.name async for event in events]


async def test_a_lost_stream_goes_on_where_it_was_and_tells_the_snapshot_once(server: Any, client: Client) -> None:
    server.answers = [
        stream(frame("job.snapshot", "1-0"), frame("job.started", "2-0", state="processing"), cut=True),
        stream(": nothing new\n\n"),
        stream(
            frame("job.snapshot", "4-0", state="processing"),
            frame("job.progress", "3-0", state="processing"),
            frame("job.completed", "5-0", state="completed"),
            frame("job.started", "6-0"),
        ),
    ]
    found = await names(client.follow(JOB_ID))
    assert found == ["job.snapshot", "job.started", "job.progress", "job.completed"]
    assert [headers.get("Last-Event-ID") for _, _, headers, _ in server.requests] == [None, "2-0", "2-0"]


async def test_a_gap_is_told_with_how_the_job_stands_then(server: Any, client: Client) -> None:
    server.answers = [
        stream(frame("job.snapshot", "1-0")),
        stream(
            frame("job.snapshot", "9-0", state="processing"),
            frame("job.gap", "9-0", "{}"),
            frame("job.failed", state="failed"),
        ),
    ]
    events = [event async for event in client.follow(JOB_ID)]
    assert [event.name for event in events] == ["job.snapshot", "job.gap", "job.snapshot", "job.failed"]
    assert events[-1].resume_at == "9-0"


async def test_a_stream_begins_where_the_caller_was_and_filters_at_the_server(server: Any, client: Client) -> None:
    server.answers = [stream(frame("job.started", "8-0", state="processing"))]
    async with aclosing(client.events(type="noop", pool="default", resume_at="7-0")) as events:
        assert (await anext(events)).resume_at == "8-0"
    [(_, path, headers, _)] = server.requests
    assert path == "/base/v1/events?type=noop&pool=default"
    assert headers["Last-Event-ID"] == "7-0"


async def test_a_refusal_is_raised_and_a_full_server_asked_again(server: Any, client: Client) -> None:
    server.answers = [server.problem("not-found", 404)]
    with pytest.raises(NotFoundError):
        await names(client.follow(JOB_ID))
    full = server.problem("rate-limited", 429, {"Retry-After": "0"})
    server.answers = [full, stream(frame("job.completed", state="completed"))]
    assert await names(client.follow(JOB_ID)) == ["job.completed"]
    server.answers = [server.problem("rate-limited", 429, {"Retry-After": "0"}) for _ in range(9)]
    with pytest.raises(RateLimitedError):
        await names(client.follow(JOB_ID))
    assert len(server.answers) == 6, "as often as any request"


async def test_a_server_that_stays_away_ends_the_patience(server: Any) -> None:
    gone = [stream(frame("job.snapshot", "1-0"), cut=True)]
    async with Client(server.url, tries=1, patience_seconds=0) as client:
        server.answers = list(gone)
        with pytest.raises(NotReachableError) as caught:
            await names(client.follow(JOB_ID))
    assert caught.value.code == "not-reachable"


async def test_many_open_streams_leave_connections_for_requests(server: Any) -> None:
    over = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(frame("job.snapshot", "1-0").encode())
        await over.wait()
        return response

    async with Client(server.url, connections=1) as client:
        server.answers = [silent] * 20
        follows = [client.follow(JOB_ID) for _ in range(20)]
        await asyncio.gather(*[anext(events) for events in follows])
        server.answers = [web.json_response(server.job())]
        async with asyncio.timeout(5):
            assert (await client.get(JOB_ID)).id == JOB_ID
        over.set()
        for events in follows:
            await events.aclose()
