"""Pools that grow and shrink, with real children."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from worker_stage import Stage

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import ExecutionPolicy
from headrace.contracts.job import Job
from headrace.runtime.store.job_types import JobType
from headrace.runtime.store.pools import Pools
from headrace.testing.eventually import eventually
from headrace.testing.executors import TEST_POOL
from headrace.worker import service as service_module
from headrace.worker.child_process import ChildProcess
from headrace.worker.pool_manager import WorkerPoolManager
from headrace.worker.service import JobWorkerService

SOON = 40
"""Processes start while other work shares the machine."""
QUICK = "\n[pools.test.autoscale]\ncooldown_up_seconds = 0\ncooldown_down_seconds = 0.5\n"

Start = Callable[..., Awaitable[JobWorkerService]]


@pytest.fixture
async def start(
    stage: Stage, worker_config: JobConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Start]:
    """Starts a service with these pools; the number of its slots is watched as long as it runs."""
    services: list[JobWorkerService] = []
    watchers: list[asyncio.Task[None]] = []

    async def found(*, test_mode: bool) -> list[JobType]:
        return [JobType("noop", ExecutionPolicy(), {}), JobType("test.sleep", ExecutionPolicy(pool=TEST_POOL), {})]

    monkeypatch.setattr(service_module, "discover", found)

    async def start(file: str, **changes: Any) -> JobWorkerService:
        path = tmp_path / "pools.toml"
        path.write_text(file)
        service = JobWorkerService(worker_config.model_copy(update={"pools_file": path, **changes}))
        services.append(service)
        await service.start()
        watchers.append(asyncio.create_task(watch_slots(service)))
        return service

    yield start
    for service in services:
        await service.close()
    for watcher in watchers:
        if watcher.done():
            watcher.result()
        watcher.cancel()


async def watch_slots(service: JobWorkerService) -> None:
    while True:
        assert pools(service).held <= service.config.max_workers
        running = sum(len(child.board.running()) for child in pools(service).children())
        assert running <= service.config.max_workers
        await asyncio.sleep(0.01)


def pools(service: JobWorkerService) -> WorkerPoolManager:
    assert service.pools is not None
    return service.pools


def children(service: JobWorkerService, pool: str = TEST_POOL) -> list[ChildProcess]:
    return [child for child in pools(service).children(pool) if not child.ended.done()]


def allowed(service: JobWorkerService, pool: str = TEST_POOL) -> int:
    return sum(child.board.allowed for child in children(service, pool) if child.board.ready)


async def until(service: JobWorkerService, slots: int, processes: int, pool: str = TEST_POOL) -> None:
    async def there() -> bool:
        found = allowed(service, pool), len(children(service, pool))
        assert found == (slots, processes), found
        return True

    await eventually(there, within=SOON)


async def submit(stage: Stage, count: int, *, seconds: float = 0.05) -> list[Job]:
    return await stage.submit(count, type="test.sleep", pool=TEST_POOL, payload=json.dumps({"seconds": seconds}))


async def until_completed(stage: Stage, jobs: list[Job]) -> None:
    ids = [job.id for job in jobs]

    async def completed() -> bool:
        count = await stage.database.jobs.count_documents({"_id": {"$in": ids}, "state": "completed"})
        assert count == len(ids), count
        return True

    await eventually(completed, within=SOON)


@pytest.mark.slow
async def test_a_spike_takes_every_slot_and_gives_them_back(start: Start, stage: Stage) -> None:
    service = await start("[pools.test]\nslots_per_process = 2" + QUICK, max_workers=7)
    await until(service, 1, 1)
    jobs = await submit(stage, 90, seconds=0.2)
    # The other pool keeps the one slot that it is to keep.
    await until(service, 6, 3)

    async def told() -> bool:
        alive = [child for child in await stage.incarnations.alive() if child.pool == TEST_POOL]
        return sorted(child.slots for child in alive) == [2, 2, 2]

    await eventually(told, what="what MongoDB knows of the slots")
    await until_completed(stage, jobs)
    await until(service, 1, 1)
    logs = [await stage.reasons(job) for job in jobs]
    assert all("orphaned" not in reasons for reasons in logs), "no job was ended to shrink"


@pytest.mark.slow
async def test_sizes_that_are_changed_at_run_time_are_obeyed_and_running_jobs_run_on(
    start: Start, stage: Stage
) -> None:
    service = await start("[pools.test]\nslots_per_process = 2" + QUICK, max_workers=6)
    settings = Pools(stage.database)
    await settings.patch(TEST_POOL, min_slots=4, by="test")
    await until(service, 4, 2)
    jobs = await submit(stage, 4, seconds=5)
    await eventually(lambda: sum(len(child.board.running()) for child in children(service)) == 4)
    await settings.patch(TEST_POOL, min_slots=0, max_slots=0, by="test")
    await eventually(lambda: allowed(service) == 0, within=SOON)
    assert pools(service).held >= 4, "what runs still counts"
    await until_completed(stage, jobs)
    assert await stage.reasons(jobs[0]) == ["submitted", "claimed", "completed"]
    await until(service, 0, 0)
    await settings.patch(TEST_POOL, min_slots=None, max_slots=None, by="test")
    await until(service, 1, 1)


async def test_with_one_slot_for_two_pools_each_is_served_in_turn(start: Start, stage: Stage) -> None:
    service = await start(QUICK.strip(), max_workers=1)
    assert pools(service).children() == []
    assert pools(service).is_ready()
    jobs = await submit(stage, 3)
    await until_completed(stage, jobs)
    other = await stage.submit(3)
    await until_completed(stage, other)


async def test_a_delayed_job_of_a_pool_without_a_process_starts_when_it_is_due(start: Start, stage: Stage) -> None:
    service = await start("[pools.test]\nmin_slots = 0" + QUICK)
    due = datetime.now(UTC) + timedelta(seconds=1)
    (job,) = await stage.submit(type="test.sleep", pool=TEST_POOL, payload='{"seconds": 0}', run_at=due)
    await until_completed(stage, [job])
    stored = await stage.job(job)
    assert stored.claimed_at is not None
    assert stored.claimed_at >= due - timedelta(milliseconds=5)
    await until(service, 0, 0)


async def test_a_process_runs_so_many_jobs_and_is_replaced(start: Start, stage: Stage) -> None:
    service = await start("[pools.test]\nmin_slots = 2\nmax_jobs_per_process = 3" + QUICK)
    jobs = await submit(stage, 8)
    await until_completed(stage, jobs)
    owners: Counter[str] = Counter()
    for job in jobs:
        assert await stage.reasons(job) == ["submitted", "claimed", "completed"]
        owners.update([str((await stage.job(job)).log[-1].by)])
    assert sorted(owners.values()) == [2, 3, 3]
    ended = [await stage.incarnations.get(owner) for owner in owners]
    assert {found.exit.kind for found in ended if found and found.exit} == {"graceful"}
    await until(service, 2, 1)


def limit_memory(service: JobWorkerService, **limits: int | None) -> None:
    given = service._scaler._given[TEST_POOL]
    service._scaler._given[TEST_POOL] = service._scaler._specs[TEST_POOL] = replace(given, **limits)  # type: ignore[arg-type]


async def test_above_its_mark_a_process_ends_after_its_jobs_and_its_successor_takes_over(
    start: Start, stage: Stage
) -> None:
    service = await start("[pools.test]\nmin_slots = 2" + QUICK)
    await until(service, 2, 1)
    (old,) = children(service)
    (long,) = await submit(stage, 1, seconds=4)
    await eventually(lambda: old.board.running())
    limit_memory(service, memory_recycle_mb=1)
    await eventually(lambda: old.worn == "memory")
    limit_memory(service, memory_recycle_mb=None)
    quick = await submit(stage, 2)
    await until_completed(stage, quick)
    await until_completed(stage, [long])
    assert await stage.reasons(long) == ["submitted", "claimed", "completed"]
    await eventually(old.ended.done, within=SOON)
    assert old.ended.result().record.kind == "graceful"
    await until(service, 2, 1)


async def test_above_its_limit_a_process_is_killed_and_the_job_knows_why(start: Start, stage: Stage) -> None:
    service = await start("[pools.test]\nslots_per_process = 1\nmin_slots = 2" + QUICK, max_workers=3)
    await until(service, 2, 2)
    (job,) = await submit(stage, 1, seconds=60)
    (old,) = await eventually(lambda: [child for child in children(service) if child.board.running()])
    (neighbour,) = [child for child in children(service) if child is not old]
    old.rss_bytes = lambda: 5 << 30  # type: ignore[method-assign]
    limit_memory(service, memory_limit_mb=2048)
    await eventually(old.ended.done)
    record = old.ended.result().record
    assert (record.kind, record.signal) == ("memory", signal.SIGKILL)
    assert (record.peak_rss_bytes or 0) > 10_000_000

    async def dead() -> Any:
        found = await stage.incarnations.get(old.incarnation)
        return found if found and found.dead_at else None

    assert (await eventually(dead)).culprit == job.id
    assert not neighbour.ended.done(), "one death never touches another"
    await until(service, 2, 2)
