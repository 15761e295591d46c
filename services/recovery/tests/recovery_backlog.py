"""A backlog in MongoDB, and whether Redis agrees with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from recovery_stage import LONG_AGO, POOL, Stage

from headrace.contracts.job import Job, Priority
from headrace.contracts.states import JobState
from headrace.recovery import rebuild
from headrace.recovery.rebuild import RebuildDuty
from headrace.runtime.process.ids import new_token
from headrace.testing.builders import make_job

PRIORITIES = (Priority.HIGH, Priority.MEDIUM, Priority.LOW)


def duty_of(stage: Stage) -> RebuildDuty:
    return RebuildDuty(stage.parts, stage.pools)


async def backlog(stage: Stage, *, waiting: int, running: int) -> list[Job]:
    """Pending jobs in MongoDB, none of them changed lately."""
    values: dict[str, Any] = {"state": JobState.PROCESSING, "attempt": 1, "owner": "w-1", "claim_token": "t1"}
    values |= {"claimed_at": LONG_AGO, "updated_at": LONG_AGO}
    jobs = [make_job(priority=PRIORITIES[n % 3], updated_at=LONG_AGO) for n in range(waiting)]
    jobs += [make_job(**values) for _ in range(running)]
    for first in range(0, len(jobs), 1000):
        await stage.store(*jobs[first : first + 1000])
    return jobs


async def pending_ids(stage: Stage) -> set[str]:
    documents = stage.parts.database.jobs.find({"state": {"$in": ["queued", "processing"]}}, {"_id": 1})
    return {document["_id"] async for document in documents}


async def agrees(stage: Stage) -> bool:
    """I6: Redis' ids are MongoDB's pending ones, each once; and the pool says that it is complete."""
    assert set(await stage.held_ids()) == await pending_ids(stage)
    return await stage.parts.queue.is_complete(POOL)


async def drain(stage: Stage) -> list[str]:
    """Every id that can be claimed, in the order of the claims."""
    ids: list[str] = []
    while claimed := (await stage.parts.queue.claim(POOL, token=new_token(), count=100)).ids:
        ids += claimed
    return ids


def at_failpoint(monkeypatch: pytest.MonkeyPatch, wanted: str, act: Callable[[], Awaitable[object]]) -> None:
    """Run `act` when the rebuild passes this point first."""
    fired: list[str] = []

    async def afp(name: str) -> None:
        if name == wanted and not fired:
            fired.append(name)
            await act()

    monkeypatch.setattr(rebuild, "afp", afp)
