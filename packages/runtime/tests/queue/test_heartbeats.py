"""Heartbeats: the last of each process, the silent ones forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio import Redis

from headrace.contracts.heartbeat import Heartbeat
from headrace.local.stores import RedisServer
from headrace.runtime.queue import Hints, redis_client
from headrace.runtime.queue.keys import Keys

SENT = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
async def hints(server: RedisServer, namespace: str) -> AsyncIterator[Hints]:
    client = redis_client(server.url, kind="pubsub", name="hints")
    yield Hints(client, namespace)
    await client.aclose()


def beat(service: str, **changes: Any) -> Heartbeat:
    values: dict[str, Any] = {
        "service": service,
        "host": "h",
        "pid": 1,
        "version": "0",
        "at": SENT,
        "slots": 4,
        "busy": 1,
    }
    return Heartbeat(**values | changes)


async def test_the_last_heartbeat_of_each_process_is_kept(hints: Hints) -> None:
    """Newest first; a second beat takes the place of the first."""
    assert await hints.heartbeats() == []
    assert await hints.beat(beat("w1"))
    assert await hints.beat(beat("w2"))
    await asyncio.sleep(0.005)  # the order is by milliseconds
    assert await hints.beat(beat("w1", busy=3))
    found = await hints.heartbeats()
    assert [one.model_copy(update={"at": SENT}) for one in found] == [beat("w1", busy=3), beat("w2")]


async def test_heartbeats_of_silent_processes_go(hints: Hints, redis: Redis, namespace: str) -> None:
    """From the list by age, from Redis at the next beat of anybody; what is none is left out."""
    keys = Keys(namespace)
    await hints.beat(beat("old"))
    await redis.zadd(keys.beats_seen, {"h:1:old": 1})
    await redis.hset(keys.beats, "junk", "{}")
    await redis.zadd(keys.beats_seen, {"junk": 2**50, "gone": 2**50})
    assert await hints.heartbeats() == []
    await hints.beat(beat("new"))
    assert [one.service for one in await hints.heartbeats()] == ["new"]
    assert set(await redis.hkeys(keys.beats)) == {"junk", "h:1:new"}


async def test_a_heartbeat_is_as_old_as_redis_says_whatever_the_clock_of_its_process(
    hints: Hints, redis: Redis
) -> None:
    await hints.beat(beat("w1", at=SENT))
    seconds, micros = await redis.time()
    (found,) = await hints.heartbeats()
    assert abs(seconds + micros / 1e6 - found.at.timestamp()) < 1
