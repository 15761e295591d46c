"""The event log: bounded, resumable, and honest about what it lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.events import EventName, JobEvent
from headrace.contracts.job import Progress
from headrace.contracts.states import JobState
from headrace.local.stores import RedisServer
from headrace.runtime.queue import EventId, EventLog, EventRow, EventSender
from headrace.runtime.queue.keys import Keys
from headrace.testing.eventually import eventually

AT = datetime(2025, 1, 1, 12, 0, 0, 123000, tzinfo=UTC)


def event(job_id: str = "a", name: EventName = EventName.STARTED, **fields: object) -> JobEvent:
    state = JobState.PROCESSING if name is EventName.STARTED else JobState.COMPLETED
    values = {"event": name, "id": job_id, "type": "crawl", "pool": "p", "state": state, "attempt": 1, "at": AT}
    return JobEvent.model_validate(values | fields)


def row(job_id: str, words: str = "") -> EventRow:
    return EventRow("job.progress", job_id, "t", "p", "processing", 1, 1, (0.5, words) if words else None)


@pytest.fixture
def events(redis: Redis, namespace: str) -> EventLog:
    return EventLog(redis, namespace)


async def ids_after(events: EventLog, after: str | None, limit: int = 200) -> list[str]:
    page = await events.read(after, limit)
    assert not page.gap
    return [event.id for _, event in page.events]


async def test_what_was_published_is_read_back_in_order(events: EventLog) -> None:
    """With everything an event says."""
    start = await events.end()
    said = [event(), event(progress=Progress(fraction=0.5, message="half ü", at=AT), tenant="red")]
    assert await events.publish(said)
    assert await events.publish([event("b", EventName.COMPLETED)])
    page = await events.read(start)
    assert [item for _, item in page.events] == [*said, event("b", EventName.COMPLETED)]
    assert (page.gap, page.last) == (False, page.events[-1][0])
    assert await events.end() == page.last


async def test_reading_goes_on_from_any_event_also_within_a_batch(events: EventLog) -> None:
    """Each id is a place to resume from; a page says where the next begins."""
    start = await events.end()
    await events.append([row(f"{n}") for n in range(100)])
    await events.append([row("last")])
    everything = (await events.read(start)).events
    assert [item.id for _, item in everything] == [*map(str, range(100)), "last"]
    for at in (0, 1, 63, 64, 99):
        assert await ids_after(events, everything[at][0]) == [item.id for _, item in everything[at + 1 :]]
    seen: list[str] = []
    after: str | None = start
    while True:
        page = await events.read(after, 7)
        assert len(page.events) <= 7
        if not page.events:
            break
        seen += [item.id for _, item in page.events]
        after = page.last
    assert seen == [item.id for _, item in everything]
    assert [EventId.parse(place) for place, _ in everything] == sorted(
        EventId.parse(place)
        for place, _ in everything  # type: ignore[type-var]
    )


async def test_without_an_id_everything_that_is_left_is_read(events: EventLog) -> None:
    """From the beginning, and no gap: nothing was promised."""
    assert (await events.read(None)).events == ()
    await events.append([row("a"), row("b")])
    assert await ids_after(events, None) == ["a", "b"]


async def test_the_log_is_bounded_in_bytes_and_says_what_fell_off(redis: Redis, namespace: str) -> None:
    """Old events go; whoever stood there has a gap, whoever stood behind has none."""
    events = EventLog(redis, namespace, limit_bytes=50_000)
    start = await events.end()
    for n in range(60):
        await events.append([row(f"{n}-{k}", "w" * 500) for k in range(10)])
    used = await redis.memory_usage(Keys(namespace).event_log)
    assert used < 120_000
    assert (await events.read(start)).gap
    oldest = (await events.read(None, 1)).events[0][0]
    assert not (await events.read(oldest)).gap


async def test_one_event_beyond_the_bound_is_kept_alone(redis: Redis, namespace: str) -> None:
    """The last entry always stays: it is where readers stand."""
    events = EventLog(redis, namespace, limit_bytes=10)
    await events.append([row("a", "long " * 100)])
    await events.append([row("b", "long " * 100)])
    assert await ids_after(events, None) == ["b"]


async def test_a_flush_is_a_gap(own_redis_client: Redis, namespace: str) -> None:
    """Whether or not something was published since."""
    events = EventLog(own_redis_client, namespace)
    await events.append([row("a")])
    before = await events.end()
    await own_redis_client.flushall()
    assert (await events.read(before)).gap
    await events.append([row("b")])
    page = await events.read(before)
    assert (page.gap, [item.id for _, item in page.events]) == (True, ["b"])
    assert await ids_after(events, await events.end()) == []


async def test_a_restart_is_a_gap_even_when_every_entry_came_back(
    own_server: RedisServer, own_redis_client: Redis, namespace: str
) -> None:
    """What was added after the last write to the disk would be missing without a trace."""
    events = EventLog(own_redis_client, namespace)
    await events.append([row("a")])
    before = await events.end()
    own_server.restart(keep_data=True)
    await own_redis_client.connection_pool.disconnect()
    assert [item.id for _, item in (await events.read(None)).events] == ["a"]
    assert (await events.read(before)).gap
    now = await events.end()
    assert now != before
    await events.append([row("b")])
    assert await ids_after(events, now) == ["b"]


@pytest.mark.parametrize("junk", ["", "0", "x-y-z", "1-2", "1-2-3-4", "9" * 40 + "-0-0", "1-0-0\n"])
async def test_an_id_that_is_none_is_a_gap(events: EventLog, junk: str) -> None:
    """Whoever sends it cannot be told what it missed."""
    assert (await events.read(junk)).gap


async def test_events_dropped_by_a_sender_are_a_gap(events: EventLog) -> None:
    """For those who read over that place, not for those who begin there."""
    start = await events.end()
    await events.append([row("a")], lost=True)
    page = await events.read(start)
    assert page.gap
    assert await ids_after(events, page.last) == []
    assert await ids_after(events, None) == ["a"]


async def test_what_is_no_event_is_left_out(events: EventLog, redis: Redis, namespace: str) -> None:
    """Foreign entries cost nobody the others."""
    start = await events.end()
    await events.append([row("a")])
    for text in ("{", "{}", "[1]", '[["job.nothing","b","t","p","queued",0,1,null,null]]', "\udcff", "[[1,2]]"):
        await redis.xadd(Keys(namespace).event_log, {"e": text})
    await redis.xadd(Keys(namespace).event_log, {"x": "y"})
    await events.append([row("c")])
    assert await ids_after(events, start) == ["a", "c"]


async def test_a_wrong_type_is_refused_and_kept(events: EventLog, redis: Redis, namespace: str) -> None:
    """Hazard 22."""
    await redis.set(Keys(namespace).event_log, "junk")
    assert not await events.append([row("a")])
    for read in (events.end, lambda: events.read(None)):
        with pytest.raises(StoreUnavailableError, match="is a string"):
            await read()
    assert await redis.get(Keys(namespace).event_log) == "junk"


async def test_sending_without_a_server_is_no_error(own_server: RedisServer, own_redis_client: Redis) -> None:
    """And it works again when the server is back."""
    events = EventLog(own_redis_client, "n")
    own_server.stop()
    assert not await events.append([row("a")])
    with pytest.raises(StoreUnavailableError):
        await events.end()
    own_server.start()
    await eventually(lambda: events.append([row("b")]))
    assert await events.append([])


async def test_listeners_are_told_of_each_batch(events: EventLog, redis: Redis, namespace: str) -> None:
    """Once after the subscription, then once per call."""
    async with events.hints() as hints:
        assert (await hints.__anext__())[1] == ""
        await events.append([row("a"), row("b")])
        _, text = await hints.__anext__()
        assert text == (await redis.xrevrange(Keys(namespace).event_log, count=1))[0][0]


class Slow(EventLog):
    """Counts the calls and takes its time."""

    calls = 0

    async def append(self, rows, *, lost=False):  # type: ignore[no-untyped-def]
        self.calls += 1
        return await super().append(rows, lost=lost)


async def test_a_sender_gathers_what_comes_close_together(redis: Redis, namespace: str) -> None:
    """The first goes at once; a thousand from threads cost a handful of calls, and none is lost or out of order."""
    events = Slow(redis, namespace)
    sender = EventSender(events, asyncio.get_running_loop())
    running = asyncio.create_task(sender.run())
    sender.add(row("first"))
    await eventually(lambda: events.calls == 1, within=0.5)

    def many(name: str) -> None:
        for n in range(250):
            sender.add(row(f"{name}{n}"))

    await asyncio.gather(*(asyncio.to_thread(many, name) for name in "abcd"))
    sender.close()
    await running
    seen: list[str] = []
    after = None
    while page := await events.read(after, 500):
        if not page.events:
            break
        seen += [item.id for _, item in page.events]
        after = page.last
    assert len(seen) == 1001
    for name in "abcd":
        assert [item for item in seen if item[0] == name and item != "first"] == [f"{name}{n}" for n in range(250)]
    assert events.calls < 30


async def test_a_sender_that_lost_events_says_so(own_server: RedisServer, own_redis_client: Redis) -> None:
    """While Redis is away events are dropped; the next that arrives stands behind a gap."""
    events = EventLog(own_redis_client, "n")
    start = await events.end()
    sender = EventSender(events, asyncio.get_running_loop())
    running = asyncio.create_task(sender.run())
    await own_redis_client.execute_command("CLIENT", "PAUSE", 1300, "WRITE")
    sender.add(row("a"))

    async def arrived() -> bool:
        sender.add(row("b"))
        page = await events.read(start)
        return page.gap and any(item.id == "b" for _, item in page.events)

    await eventually(arrived, within=10, every=0.1)
    sender.close()
    await running


async def test_a_sender_drops_while_it_may_not_send(events: EventLog) -> None:
    """Nothing is kept for later: late events would only confuse."""
    sender = EventSender(events, asyncio.get_running_loop(), may_send=lambda: False)
    sender.add(row("a"))
    sender.close()
    await sender.run()
    assert await ids_after(events, None) == []
