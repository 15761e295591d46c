"""The worker's parts on real stores."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from headrace.contracts.config import JobConfig
from headrace.local.stores import MongoServer, RedisServer
from headrace.runtime.process import failpoints

# Test folders are no packages, so what the test files share is found by its folder.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("worker_stage")

from worker_stage import Stage, open_stage  # noqa: E402 -- needs the path above


@pytest.fixture
async def stage(config: JobConfig, mongo_server: MongoServer) -> AsyncIterator[Stage]:
    """A stage on the shared stores."""
    async with open_stage(config, mongo_server) as stage:
        yield stage


@pytest.fixture
async def own_stage(config: JobConfig, own_redis: RedisServer, mongo_server: MongoServer) -> AsyncIterator[Stage]:
    """A stage whose Redis (`own_redis`) the test may stop and flush."""
    own = config.model_copy(update={"redis_url": SecretStr(own_redis.url)})
    async with open_stage(own, mongo_server) as stage:
        yield stage


@pytest.fixture
def failpoint() -> Iterator[None]:
    """Failpoints that a test installs in this process are off again after it."""
    yield
    failpoints.install("")


@pytest.fixture
def worker_config(config: JobConfig, monkeypatch: pytest.MonkeyPatch) -> JobConfig:
    """Settings of a worker in test mode, also in this process's environment, which its children inherit."""
    values = {
        "redis_url": config.redis_url,
        "mongo_url": config.mongo_url,
        "mongo_database": config.mongo_database,
        "namespace": config.namespace,
        "http_port": 0,
        "test_mode": True,
        "max_workers": 2,
        "worker_heartbeat_seconds": 0.5,
        "lease_seconds": 5.0,
        "shutdown_grace_seconds": 5.0,
        "log_level": "warning",
    }
    for name in [name for name in os.environ if name.startswith("JOB_")]:
        monkeypatch.delenv(name)
    for name, value in values.items():
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        monkeypatch.setenv(f"JOB_{name.upper()}", text)
    return config.model_copy(update=values)
