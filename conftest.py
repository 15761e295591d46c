"""Real stores for every test: one Redis and one MongoDB per session, and a name of its own for each test.

The servers are started without an event loop, so they serve tests of any loop scope. Only tests that ask for them pay
for them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from headrace.contracts.config import JobConfig
from headrace.local.stores import MongoServer, RedisServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The Redis that all tests share. Never flush, restart or configure it: use `own_redis` for that."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[MongoServer]:
    """The MongoDB that all tests share (fail points allowed). Never restart it."""
    with MongoServer(test_commands=True) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    """The address of the shared Redis."""
    return redis_server.url


@pytest.fixture(scope="session")
def mongo_url(mongo_server: MongoServer) -> str:
    """The address of the shared MongoDB."""
    return mongo_server.url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis for this test alone, which it may flush, pause, kill and restart."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_mongo() -> Iterator[MongoServer]:
    """A MongoDB for this test alone, which it may pause, kill and restart (half a second to start)."""
    with MongoServer(test_commands=True) as server:
        yield server


@pytest.fixture
def namespace() -> str:
    """A key prefix that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def mongo_database(mongo_server: MongoServer) -> Iterator[str]:
    """The name of a database that no other test uses; it is dropped afterwards."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    mongo_server.drop_database(name)


@pytest.fixture
def config(redis_url: str, mongo_url: str, mongo_database: str, namespace: str) -> JobConfig:
    """Settings on the shared stores with names of this test's own; `config.model_copy(update=…)` for others."""
    return JobConfig(
        redis_url=SecretStr(redis_url),
        mongo_url=SecretStr(mongo_url),
        mongo_database=mongo_database,
        namespace=namespace,
        http_port=0,
    )
