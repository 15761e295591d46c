"""A child that was declared dead stops by itself, and nothing that it writes late counts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from worker_plugins import write_plugin
from worker_stage import POOL, Stage

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import ExecutionPolicy
from headrace.contracts.heartbeat import ExitRecord
from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.runtime.process.ids import new_incarnation
from headrace.runtime.store.job_types import JobType
from headrace.runtime.store.orphans import decide_orphan
from headrace.testing.eventually import eventually
from headrace.worker import child_watch
from headrace.worker import service as service_module
from headrace.worker.child_end import LOST_CODE
from headrace.worker.child_process import ChildProcess
from headrace.worker.pools import ChildPlan
from headrace.worker.service import JobWorkerService

TYPES = ("test.sleep", "test.block")
Spawn = Callable[[], Awaitable[ChildProcess]]


@pytest.fixture
async def spawn(stage: Stage, worker_config: JobConfig) -> AsyncIterator[Spawn]:
    """Starts a child without a supervisor that would renew its lease or end it."""
    children: list[ChildProcess] = []

    async def start() -> ChildProcess:
        incarnation = new_incarnation()
        await stage.incarnations.register(
            incarnation, service="s", host="h", pool=POOL, types=TYPES, slots=2, version="0", lease_seconds=2
        )
        child = ChildProcess.spawn(incarnation, ChildPlan(POOL, TYPES, 2), grace_seconds=2)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        await eventually(child.ended.done)
        child.board.close()


async def running(stage: Stage, child: ChildProcess, type_: str, payload: dict[str, Any]) -> Job:
    (job,) = await stage.submit(type=type_, payload=json.dumps(payload))
    await eventually(lambda: job.id in {item.job_id for item in child.board.running()}, within=30)
    return job


async def lose(stage: Stage, child: ChildProcess) -> None:
    """What recovery does when the lease has run out."""

    async def declared() -> bool:
        found = await stage.incarnations.get(child.incarnation)
        assert found is not None
        return await stage.incarnations.declare_lost(child.incarnation, lease_until=found.lease_until)

    await eventually(declared)


async def hand_back(stage: Stage, job: Job) -> None:
    for orphan, owner in await stage.state.orphans(stage.database.workers, limit=10):
        await stage.state.hand_back(orphan, decide_orphan(orphan, owner, max_crashes=9), by="recovery")
    assert await stage.in_state(job, "queued")


async def test_a_child_that_was_declared_dead_elsewhere_stops_everything_and_ends(stage: Stage, spawn: Spawn) -> None:
    child = await spawn()
    polite = await running(stage, child, "test.sleep", {"seconds": 60})
    stubborn = await running(stage, child, "test.block", {"seconds": 60, "slices": False})
    await lose(stage, child)
    await eventually(child.ended.done, within=8)
    assert child.ended.result().record == ExitRecord(
        kind="code", code=LOST_CODE, peak_rss_bytes=child.ended.result().record.peak_rss_bytes
    )
    assert child.board.counters() == (0, 0, 2), "both are counted as refused"
    for job in (polite, stubborn):
        assert (await stage.job(job)).state is JobState.PROCESSING, "recovery hands them back"


@pytest.mark.slow
async def test_hazard_10_what_a_stopped_child_writes_after_its_lease_is_refused_and_counted(
    stage: Stage, spawn: Spawn
) -> None:
    child = await spawn()
    job = await running(stage, child, "test.sleep", {"seconds": 1, "result": "late"})
    os.kill(child.pid, signal.SIGSTOP)
    await lose(stage, child)
    await hand_back(stage, job)
    other = stage.child(start=False)
    (own,) = await stage.state.claim([job.id], token="t2", owner=other.incarnation, types=TYPES)
    assert own.attempt == 2
    await asyncio.sleep(1)  # its job's time is over: it settles as soon as it goes on
    os.kill(child.pid, signal.SIGCONT)
    await eventually(lambda: child.board.counters()[2] >= 1, within=5)
    await eventually(child.ended.done, within=8)
    stored = await stage.job(job)
    assert (stored.state, stored.attempt, stored.owner, stored.result) == (
        JobState.PROCESSING,
        2,
        other.incarnation,
        None,
    )
    assert child.board.counters()[0] == 0


HOG = """
import re
class Hog(Good):
    job_type = "hog"
    policy = ExecutionPolicy(pool="plug", slots_per_process=2)
    def execute(self, context, payload):
        re.match("(a+)+$", "a" * 200 + "b")  # one call that holds the interpreter's lock for ever
class Patient(Good):
    job_type = "patient"
    policy = ExecutionPolicy(pool="plug", slots_per_process=2)
    async def execute(self, context, payload):
        import asyncio
        await asyncio.sleep(60 if context.attempt == 1 else 0)
        return context.attempt
"""


@pytest.mark.slow
async def test_hazard_9_a_job_that_holds_the_interpreters_lock_is_ended_at_its_hard_limit_without_blame_on_others(
    stage: Stage, worker_config: JobConfig, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(tmp_path, HOG, {"hog": "Hog", "patient": "Patient"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(child_watch, "HARD_LIMIT_SECONDS", 1.0)

    async def found(*, test_mode: bool) -> list[JobType]:
        return [JobType(name, ExecutionPolicy(pool="plug", slots_per_process=2), {}) for name in ("hog", "patient")]

    monkeypatch.setattr(service_module, "discover", found)
    service = JobWorkerService(worker_config)
    await service.start()
    try:
        (patient,) = await stage.submit(type="patient", pool="plug")
        await eventually(lambda: stage.in_state(patient, "processing"), within=30)
        (hog,) = await stage.submit(type="hog", pool="plug", timeout_seconds=1, max_retries=0)
        stored = await eventually(lambda: stage.in_state(hog, "failed"), within=20)
        assert stored is not None
        assert stored.error is not None
        assert (stored.error.type, stored.crashes, stored.failures) == ("timeout", 0, 1)

        async def orphaned() -> bool:
            return bool(await stage.state.orphans(stage.database.workers, limit=10))

        await eventually(orphaned, within=10)
        ((orphan, owner),) = await stage.state.orphans(stage.database.workers, limit=10)
        decision = decide_orphan(orphan, owner, max_crashes=3)
        assert (orphan.job_id, decision.to, decision.crashes) == (patient.id, JobState.QUEUED, 0)
    finally:
        await service.close()
