"""Hints: they come when they can, and their loss is nobody's error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_harness import POOL, RedisHarness

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.heartbeat import Heartbeat
from headrace.local.stores import RedisServer
from headrace.runtime.queue import Entry, Hints, RedisJobQueue, listener, redis_client
from headrace.runtime.queue.keys import Keys
from headrace.testing.eventually import eventually

HEARTBEAT = Heartbeat(service="w1", host="h", pid=1, version="0", at=datetime(2025, 1, 1, tzinfo=UTC), slots=4, busy=1)


@pytest.fixture
async def hints(server: RedisServer, namespace: str) -> AsyncIterator[Hints]:
    client = redis_client(server.url, kind="pubsub", name="hints")
    yield Hints(client, namespace)
    await client.aclose()


@pytest.fixture
async def own_hints(own_server: RedisServer, namespace: str) -> AsyncIterator[Hints]:
    client = redis_client(own_server.url, kind="pubsub", name="hints")
    yield Hints(client, namespace)
    await client.aclose()


class Reader:
    """Collects what an iterator yields."""

    def __init__(self, messages: AsyncIterator[Any]) -> None:
        self.seen: list[Any] = []
        self._task = asyncio.create_task(self._read(messages))

    async def _read(self, messages: Any) -> None:
        async with aclosing(messages):
            async for message in messages:
                self.seen.append(message)

    async def __aenter__(self) -> Reader:
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self._task.done(), "a listener never ends by itself"
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def subscribers(redis: Redis, channel: str, count: int = 1) -> bool:
    return dict(await redis.pubsub_numsub(channel)).get(channel) == count


async def test_whoever_waits_is_woken_when_an_id_becomes_ready(
    hints: Hints, harness: RedisHarness, redis: Redis, namespace: str
) -> None:
    """By enqueue, requeue, promotion and the end of a pause; not by what is due much later."""
    queue = harness.queue
    async with Reader(hints.wakes([POOL, "other"])) as reader:
        await eventually(lambda: subscribers(redis, Keys(namespace).wake(POOL)))
        await eventually(lambda: sorted(reader.seen) == [POOL, "other"])
        reader.seen.clear()

        async def wakes_once(call: Any) -> None:
            await call
            await eventually(lambda: reader.seen == [POOL])
            reader.seen.clear()

        job = await harness.waiting()
        await eventually(lambda: reader.seen == [POOL])
        reader.seen.clear()
        await harness.take(token="t1", count=1)
        await wakes_once(queue.release(POOL, [Entry(job, 1, token="t1")]))
        await wakes_once(queue.pause(POOL, False))
        await wakes_once(hints.wake(POOL))
        await harness.waiting(due_in_ms=60_000)
        await wakes_once(queue.enqueue(POOL, [Entry("soon", 1, await queue.time_ms() + 300)]))
        await eventually(lambda: queue.promote(POOL))
        await eventually(lambda: reader.seen == [POOL])


async def test_control_messages_arrive_in_order(hints: Hints, redis: Redis, namespace: str) -> None:
    """What cannot be understood is left out."""
    keys = Keys(namespace)
    async with Reader(hints.controls()) as controls:
        await eventually(lambda: subscribers(redis, keys.control))
        for junk in ("[1]", "{", b"\xff\xfe"):
            await redis.publish(keys.control, junk)
        assert await hints.control({"cancel": "a"})
        assert await hints.control({"cancel": "b"})
        await eventually(lambda: controls.seen == [{"cancel": "a"}, {"cancel": "b"}])


async def test_a_listener_outlives_its_connection_and_its_server(
    own_server: RedisServer, own_hints: Hints, own_redis_client: Redis, namespace: str
) -> None:
    """Killed connections, a killed server, a restart: it listens again, and greets since something may be missed."""
    channel = Keys(namespace).wake(POOL)
    async with Reader(own_hints.wakes([POOL])) as reader:
        await eventually(lambda: len(reader.seen) == 1)
        await own_redis_client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: len(reader.seen) == 2)
        own_server.kill()
        await asyncio.to_thread(own_server.start)
        await eventually(lambda: len(reader.seen) >= 3)
        await eventually(lambda: subscribers(own_redis_client, channel))
        before = len(reader.seen)
        assert await own_hints.wake(POOL)
        await eventually(lambda: len(reader.seen) > before)


async def test_a_listener_starts_before_its_server(own_server: RedisServer, own_hints: Hints) -> None:
    """It waits for it."""
    own_server.kill()
    async with Reader(own_hints.wakes([POOL])) as reader:
        await asyncio.sleep(0.3)  # a few refused connections
        assert reader.seen == []
        await asyncio.to_thread(own_server.start)
        await eventually(lambda: reader.seen == [POOL])


async def test_a_connection_that_says_nothing_is_given_up(
    own_server: RedisServer, own_hints: Hints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen server keeps its connections open; the listener asks, gets no answer, and connects anew."""
    monkeypatch.setattr(listener, "PING_SECONDS", 0.2)
    monkeypatch.setattr(listener, "READ_SECONDS", 0.05)
    async with Reader(own_hints.wakes([POOL])) as reader:
        await eventually(lambda: len(reader.seen) == 1)
        await asyncio.sleep(0.8)  # silent but answering: it stays
        assert len(reader.seen) == 1
        own_server.pause()
        await asyncio.sleep(0.8)
        own_server.resume()
        await eventually(lambda: len(reader.seen) >= 2)


async def test_sending_without_a_server_is_no_error(own_server: RedisServer, own_hints: Hints) -> None:
    """It says that nothing was sent, and sends again when it can. Reading heartbeats says that it cannot."""
    own_server.kill()
    assert not await own_hints.wake(POOL)
    assert not await own_hints.control({"a": 1})
    assert not await own_hints.beat(HEARTBEAT)
    with pytest.raises(StoreUnavailableError):
        await own_hints.heartbeats()
    await asyncio.to_thread(own_server.start)

    async def sent() -> bool:
        return await own_hints.wake(POOL)

    assert await eventually(sent)


async def test_a_lost_wake_costs_nothing(harness: RedisHarness, redis: Redis, namespace: str) -> None:
    """Nobody listens: the id waits all the same, and the next poll finds it."""
    job = await harness.waiting()
    assert await subscribers(redis, Keys(namespace).wake(POOL), 0)
    assert await harness.take(token="t1", count=1) == [job]


async def test_a_slow_reader_loses_the_oldest(monkeypatch: pytest.MonkeyPatch, redis: Redis, namespace: str) -> None:
    """Memory stays bounded; the newest messages are there."""
    monkeypatch.setattr(listener, "QUEUE_SIZE", 5)
    channel = f"{namespace}:x"
    async with listener.Listener(redis, (channel,)) as messages:
        await eventually(lambda: subscribers(redis, channel))
        for number in range(20):
            await redis.publish(channel, str(number))
        await eventually(lambda: messages._messages.full())
        seen: list[str] = []

        async def the_last_came() -> bool:
            seen.append((await anext(messages))[1])
            return seen[-1] == "19"

        await eventually(the_last_came)
        assert seen == sorted(seen, key=int)


async def test_a_listener_gives_its_connection_back(server: RedisServer, namespace: str) -> None:
    """With one connection in all, the second listener can only start when the first has ended."""
    client = redis_client(server.url, kind="pubsub", name="one", max_connections=1)
    hints = Hints(client, namespace)
    for _ in range(2):
        async with Reader(hints.wakes([POOL])) as reader:
            await eventually(lambda: reader.seen == [POOL])
    await client.aclose()


async def test_a_listener_outlives_an_error_that_nobody_thought_of(
    hints: Hints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead listener would be silence that nobody notices."""
    real = listener.Listener._listen
    calls = 0

    async def fails_once(self: listener.Listener) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("never seen before")
        await real(self)

    monkeypatch.setattr(listener.Listener, "_listen", fails_once)
    async with Reader(hints.wakes([POOL])) as reader:
        await eventually(lambda: reader.seen == [POOL])


async def test_a_queue_and_its_hints_speak_of_the_same_channel(
    queue: RedisJobQueue, redis: Redis, namespace: str
) -> None:
    """The scripts publish where the listeners listen; other namespaces hear nothing."""
    client_hints = Hints(redis, f"{namespace}-other")
    async with Reader(client_hints.wakes([POOL])) as reader:
        await eventually(lambda: len(reader.seen) == 1)
        await queue.enqueue(POOL, [Entry("a", 1)])
        await client_hints.wake(POOL)
        await eventually(lambda: len(reader.seen) == 2)
