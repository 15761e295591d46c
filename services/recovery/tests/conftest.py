"""Recovery's duties on real stores."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from headrace.contracts.config import JobConfig
from headrace.local.stores import RedisServer

# Test folders are no packages, so what the test files share is found by its folder.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("recovery_stage", "recovery_backlog")

from recovery_stage import Stage, open_stage  # noqa: E402 -- needs the path above


@pytest.fixture
async def stage(config: JobConfig) -> AsyncIterator[Stage]:
    """The scene on the shared stores."""
    async with open_stage(config) as stage:
        yield stage


@pytest.fixture
def own_config(config: JobConfig, own_redis: RedisServer) -> JobConfig:
    """Settings with a Redis that the test may flush, stop and fill."""
    return config.model_copy(update={"redis_url": SecretStr(own_redis.url)})


@pytest.fixture
async def own_stage(own_config: JobConfig) -> AsyncIterator[Stage]:
    """The scene on a Redis of the test's own."""
    async with open_stage(own_config) as stage:
        yield stage
