from __future__ import annotations

import asyncio

import pytest
from recovery_stage import Stage

from headrace.contracts.executor import ExecutionPolicy
from headrace.recovery.counts import Counts
from headrace.runtime.store.job_types import JobType

NAMES = ["a", "b", "c"]


@pytest.fixture
async def pools(stage: Stage) -> Stage:
    types = [JobType(f"type-{name}", ExecutionPolicy(pool=name), {}) for name in NAMES]
    await stage.parts.job_types.register(types)
    return stage


async def test_pools_are_visited_beside_each_other_as_many_as_asked(pools: Stage) -> None:
    meeting = asyncio.Barrier(2)
    here: set[str] = set()
    most = 0

    async def visit(pool: str) -> Counts:
        nonlocal most
        here.add(pool)
        most = max(most, len(here))
        if pool in NAMES[:2]:
            await asyncio.wait_for(meeting.wait(), 5)
        here.discard(pool)
        return Counts({pool: 1, "all": 1})

    assert await pools.pools.each(visit, at_once=2) == {"a": 1, "b": 1, "c": 1, "all": 3}
    assert most == 2


async def test_a_pool_that_fails_keeps_no_other_waiting(pools: Stage) -> None:
    seen: list[str] = []

    async def visit(pool: str) -> Counts:
        seen.append(pool)
        if pool != "b":
            raise ValueError(pool)
        return Counts()

    with pytest.raises(ValueError, match="a"):
        await pools.pools.each(visit)
    assert seen == NAMES, "one after the other, unless asked otherwise"
