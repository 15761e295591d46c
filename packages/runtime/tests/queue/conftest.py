"""Every queue test runs on a real Redis and on a real Valkey."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis

from headrace.local.binaries import BinaryMissingError, RedisKind, find_redis
from headrace.local.stores import RedisServer
from headrace.runtime.queue import RedisJobQueue, redis_client

# The suite is shared with other queues' tests; test folders are no packages, so it is found by its folder.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("behaviour", "redis_harness")

from redis_harness import RedisHarness, complete  # noqa: E402 -- needs the path above


@pytest.fixture(scope="session", params=["redis", "valkey"])
def kind(request: pytest.FixtureRequest) -> RedisKind:
    """Which server."""
    wanted = cast("RedisKind", request.param)
    try:
        find_redis(wanted)
    except BinaryMissingError as error:
        pytest.skip(str(error))
    return wanted


@pytest.fixture(scope="session")
def server(kind: RedisKind) -> Iterator[RedisServer]:
    """A server that the tests share: each has its namespace, none may harm it."""
    with RedisServer(prefer=kind) as server:
        yield server


@pytest.fixture
def own_server(kind: RedisKind) -> Iterator[RedisServer]:
    """A server that one test may stop, flush and fill; it keeps its data over a restart."""
    with RedisServer(prefer=kind, appendonly=True) as server:
        yield server


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    """A client of the shared server."""
    client = redis_client(server.url, kind="command", name="test")
    yield client
    await client.aclose()


@pytest.fixture
async def queue(redis: Redis, namespace: str) -> RedisJobQueue:
    """The queue on the shared server, its pool complete."""
    queue = RedisJobQueue(redis, namespace=namespace)
    await complete(queue)
    return queue


@pytest.fixture
async def own_redis_client(own_server: RedisServer) -> AsyncIterator[Redis]:
    """A client of the test's own server."""
    client = redis_client(own_server.url, kind="command", name="test")
    yield client
    await client.aclose()


@pytest.fixture
async def own_queue(own_redis_client: Redis, namespace: str) -> RedisJobQueue:
    """The queue on the test's own server, its pool complete."""
    queue = RedisJobQueue(own_redis_client, namespace=namespace)
    await complete(queue)
    return queue


@pytest.fixture
def harness(queue: RedisJobQueue) -> RedisHarness:
    """For the behaviour suite, and short for tests of their own."""
    return RedisHarness(queue)


@pytest.fixture
def own_harness(own_queue: RedisJobQueue) -> RedisHarness:
    """The same on the test's own server."""
    return RedisHarness(own_queue)
