"""The supervisor with real children: leases, deaths, hard limits, and its own end."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from worker_stage import Stage

from headrace.contracts.config import JobConfig
from headrace.contracts.heartbeat import Incarnation
from headrace.contracts.job import Job
from headrace.contracts.states import JobState, Reason
from headrace.runtime.queue.hints import Hints
from headrace.runtime.store.job_types import JobType, JobTypes
from headrace.runtime.store.orphans import decide_orphan
from headrace.runtime.store.values import Settlement
from headrace.testing.eventually import eventually
from headrace.testing.executors import TEST_POOL
from headrace.worker import board as board_module
from headrace.worker import child_process, child_records, child_watch, pool_manager
from headrace.worker import service as service_module
from headrace.worker.app import WorkerCollector
from headrace.worker.board import Started
from headrace.worker.child_process import ChildProcess
from headrace.worker.registry import load_executors
from headrace.worker.service import JobWorkerService

READY = 30
SUPERVISOR = "headrace-worker-supervisor"
"""The name it gives its connections to MongoDB."""


def known_types() -> list[JobType]:
    names = ("test.sleep", "test.block", "test.fail")
    return [
        JobType(name, kind.policy, kind.payload_model.model_json_schema())
        for name, kind in load_executors(test_mode=True, only=names).items()
    ]


Start = Callable[..., Awaitable[JobWorkerService]]


@pytest.fixture
async def supervise(
    stage: Stage, worker_config: JobConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Start]:
    """Starts services with one child of two slots for the test pool, whatever waits."""
    services: list[JobWorkerService] = []

    async def found(*, test_mode: bool) -> list[JobType]:
        return known_types()

    monkeypatch.setattr(service_module, "discover", found)

    file = tmp_path / "pools.toml"
    file.write_text("[pools.test]\nmin_slots = 2\n")

    async def start(*, ready: bool = True, **changes: Any) -> JobWorkerService:
        service = JobWorkerService(worker_config.model_copy(update={"pools_file": file, **changes}))
        services.append(service)
        await service.start()
        if ready:
            await eventually(lambda: pools(service).is_ready(), within=READY)
        return service

    yield start
    for service in services:
        await service.close()


def pools(service: JobWorkerService) -> pool_manager.WorkerPoolManager:
    assert service.pools is not None
    return service.pools


def only_child(service: JobWorkerService) -> ChildProcess:
    (child,) = pools(service).children()
    return child


async def submit(stage: Stage, type_: str, payload: dict[str, Any], **fields: Any) -> Job:
    (job,) = await stage.submit(type=type_, pool=TEST_POOL, payload=json.dumps(payload), **fields)
    return job


async def running(child: ChildProcess, *jobs: Job) -> None:
    wanted = {job.id for job in jobs}
    await eventually(lambda: {item.job_id for item in child.board.running()} == wanted, what="jobs on the board")


async def death(stage: Stage, incarnation: str) -> Incarnation:
    async def dead() -> Incarnation | None:
        found = await stage.incarnations.get(incarnation)
        return found if found is not None and found.dead_at is not None else None

    found = await eventually(dead, what="the death in MongoDB")
    assert found is not None
    return found


async def replacement(service: JobWorkerService, old: ChildProcess) -> ChildProcess:
    await eventually(
        lambda: pools(service).is_ready() and only_child(service).incarnation != old.incarnation,
        within=READY,
        what="a new child",
    )
    return only_child(service)


async def test_a_killed_child_is_written_off_with_what_it_ran_and_replaced_by_a_new_incarnation(
    supervise: Start, stage: Stage
) -> None:
    service = await supervise()
    old = only_child(service)
    first = await stage.incarnations.get(old.incarnation)
    assert first is not None
    assert (first.service, first.pool, first.slots) == (service.name, TEST_POOL, 2)
    assert {item.type for item in await JobTypes(stage.database).all()} == {item.type for item in known_types()}
    quick = await submit(stage, "test.fail", {"how": "permanent"})
    await eventually(lambda: stage.in_state(quick, "failed"))
    job = await submit(stage, "test.sleep", {"seconds": 60})
    await running(old, job)

    # While it lives: the lease is renewed, the heartbeat names what runs, the metrics count.
    async def renewed() -> bool:
        found = await stage.incarnations.get(old.incarnation)
        return found is not None and found.lease_until > first.lease_until

    await eventually(renewed)
    beat = await service.beat()
    assert (beat.busy, beat.slots, [job.id for job in beat.children[0].running]) == (1, 2, [job.id])
    (sent,) = await Hints(stage.redis, stage.config.namespace).heartbeats()
    # The service beats as well, so the one that is read may be a later one.
    assert (sent.service, sent.pid, sent.busy, sent.slots) == (beat.service, beat.pid, 1, 2)
    assert [(child.incarnation, [job.id for job in child.running]) for child in sent.children] == [
        (old.incarnation, [job.id])
    ]
    assert metrics(service) == {"completed": 0, "failed": 1, "fenced": 0, "busy": 1, "total": 2, "children": 1}

    os.kill(old.pid, signal.SIGKILL)
    dead = await death(stage, old.incarnation)
    assert (dead.exit.kind, dead.exit.signal) == ("signal", 9)  # type: ignore[union-attr]
    assert (dead.running, dead.culprit) == ((job.id,), None)
    new = await replacement(service, old)
    assert new.pid != old.pid
    assert metrics(service)["failed"] == 1, "what the dead child had counted stays counted"

    other = await submit(stage, "test.sleep", {"seconds": 0.01})
    await eventually(lambda: stage.in_state(other, "completed"))
    await service.drain()
    assert pools(service).children() == []
    assert (await death(stage, new.incarnation)).exit.kind == "graceful"  # type: ignore[union-attr]
    assert (await service.beat()).children == ()


def metrics(service: JobWorkerService) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in WorkerCollector(service).collect():
        for sample in family.samples:
            alone = "fenced" if sample.name == "job_lease_lost_total" else "children"
            found[sample.labels.get("outcome") or sample.labels.get("state") or alone] = sample.value
    return found


@pytest.mark.parametrize(
    "call", [{"seconds": 60, "slices": False}, pytest.param({"receives": True}, marks=pytest.mark.slow)]
)
async def test_hazard_18_a_job_that_cannot_be_stopped_times_out_and_its_child_is_replaced_without_blame_on_neighbours(
    supervise: Start, stage: Stage, monkeypatch: pytest.MonkeyPatch, call: dict[str, Any]
) -> None:
    monkeypatch.setattr(child_watch, "HARD_LIMIT_SECONDS", 0.5)
    service = await supervise()
    old = only_child(service)
    neighbour = await submit(stage, "test.sleep", {"seconds": 60})
    stuck = await submit(stage, "test.block", call, timeout_seconds=0.5, max_retries=0)
    await running(old, neighbour, stuck)
    stored = await eventually(lambda: stage.in_state(stuck, "failed"))
    assert stored is not None
    assert stored.error is not None
    assert (stored.error.type, stored.failures, stored.crashes) == ("timeout", 1, 0)
    assert stored.log[-1].reason is Reason.TIMEOUT
    assert (stored.log[-1].by, stored.log[-1].owner) == (service.name, old.incarnation)
    dead = await death(stage, old.incarnation)
    assert (dead.exit.kind, dead.culprit) == ("killed", stuck.id)  # type: ignore[union-attr]
    assert set(dead.running or ()) == {neighbour.id, stuck.id}
    # What recovery does with the neighbour: back in the queue, without a crash.
    ((orphan, owner),) = await stage.state.orphans(stage.database.workers, limit=10)
    assert orphan.job_id == neighbour.id
    decision = decide_orphan(orphan, owner, max_crashes=1)
    assert (decision.to, decision.crashes) == (JobState.QUEUED, 0)
    await stage.state.hand_back(orphan, decision, by="test")
    await replacement(service, old)
    assert (await stage.job(neighbour)).crashes == 0


async def test_a_child_that_was_declared_dead_elsewhere_is_ended_at_the_next_renewal(
    supervise: Start, stage: Stage
) -> None:
    service = await supervise()
    old = only_child(service)
    document = await stage.incarnations.get(old.incarnation)
    assert document is not None
    await stage.database.workers.update_one(
        {"_id": old.incarnation}, {"$set": {"dead_at": document.lease_until, "exit": {"kind": "lease"}}}
    )
    await eventually(old.ended.done, within=5)
    # By its supervisor at the next renewal, or by itself if it has looked before.
    assert old.ended.result().record.kind in {"killed", "code"}
    await replacement(service, old)
    found = await stage.incarnations.get(old.incarnation)
    assert found is not None
    assert found.exit is not None
    assert found.exit.kind == "lease", "the first word counts"


async def test_a_child_whose_loops_stand_still_is_ended_and_not_renewed(supervise: Start, stage: Stage) -> None:
    service = await supervise()
    old = only_child(service)
    os.kill(old.pid, signal.SIGSTOP)
    await asyncio.sleep(0.05)
    long_ago = time.monotonic() - 100
    struct.pack_into("<dd", old.board._memory, board_module._LOOP_AT, long_ago, long_ago)
    await eventually(old.ended.done, within=10)
    dead = await death(stage, old.incarnation)
    assert (dead.exit.kind, dead.running) == ("killed", ())  # type: ignore[union-attr]
    await replacement(service, old)


@pytest.mark.slow
async def test_hazard_8_a_service_whose_child_stands_still_is_not_ready_until_it_turns_again(
    supervise: Start, stage: Stage
) -> None:
    service = await supervise()
    child = only_child(service)
    os.kill(child.pid, signal.SIGSTOP)
    try:
        await eventually(lambda: not pools(service).is_ready(), within=2 * child_watch.SILENT_SECONDS)
    finally:
        os.kill(child.pid, signal.SIGCONT)
    await eventually(lambda: pools(service).is_ready(), within=5)
    assert only_child(service) is child, "it was only slow"


async def test_a_child_that_cannot_be_started_is_written_off_and_tried_again_with_back_off(
    supervise: Start, stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There is no room for one more process for a while."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(child_process.subprocess, "Popen", refuse)
        service = await supervise(ready=False)

        async def given_up() -> bool:
            return await stage.database.workers.count_documents({"exit.kind": "not_started"}) >= 3

        await eventually(given_up, within=READY)
        known = await stage.database.workers.count_documents({})
        began = time.monotonic()
        await asyncio.sleep(1)
        tries = await stage.database.workers.count_documents({}) - known
        assert tries <= 1 + (time.monotonic() - began) / 0.8, "the back-off has grown to 0.8 s"
    await eventually(lambda: pools(service).is_ready(), within=READY)
    assert await stage.database.workers.count_documents({"dead_at": None}) == 1
    assert len(list(tmp_path.glob("*headrace-scratch-*"))) == 1, "nothing is left of those that were not started"
    open_files = {os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    assert len([name for name in open_files if name.startswith(str(tmp_path))]) == 2, "board and folder of the one"


async def test_children_wait_for_mongodb_and_deaths_are_told_when_it_is_back(
    supervise: Start, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_records, "STORE_PAUSE_SECONDS", 0.1)
    with stage.failing("update", errorCode=50, appName=SUPERVISOR):
        service = await supervise(ready=False)
        await asyncio.sleep(0.3)
        assert pools(service).children() == [], "no child before a majority knows it"
        assert await service.renew() == 0
    await eventually(lambda: pools(service).is_ready(), within=READY)
    child = only_child(service)
    with stage.failing("update", errorCode=50, appName=SUPERVISOR):
        os.kill(child.pid, signal.SIGKILL)
        await eventually(child.ended.done)
        await asyncio.sleep(0.3)
        found = await stage.incarnations.get(child.incarnation)
        assert found is not None
        assert found.dead_at is None
    assert (await death(stage, child.incarnation)).exit.signal == 9  # type: ignore[union-attr]


async def test_ending_while_mongodb_is_away_ends(supervise: Start, stage: Stage) -> None:
    with stage.failing("update", errorCode=50, appName=SUPERVISOR):
        service = await supervise(ready=False)
        await asyncio.sleep(0.1)
        await service.drain()
    assert pools(service).children() == []


async def test_closing_without_a_drain_kills_what_is_left(supervise: Start) -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    service = await supervise(ready=False)
    await eventually(lambda: pools(service).children())
    child = only_child(service)
    await service.close()
    await eventually(lambda: child._process.returncode is not None)
    await asyncio.sleep(0.05)
    assert child._process.returncode == -signal.SIGKILL
    assert complaints == []


# -- the transition that a hard limit writes -------------------------------------------------------------------


@pytest.fixture
async def writer(stage: Stage, worker_config: JobConfig) -> AsyncIterator[Any]:
    """Writes a time-out for a job of an incarnation `w-x`, as `watch` does before it kills."""
    service = JobWorkerService(worker_config)
    service._types.update({item.type: item for item in known_types()})

    async def write(job: Job, attempt: int = 1) -> None:
        await service._timeouts.write(Started(job.id, attempt, time.monotonic() - 3, 1.0), owner="w-x")

    yield write
    await service.close()


async def owned(stage: Stage, **fields: Any) -> Job:
    job = await submit(stage, "test.sleep", {}, **fields)
    claim = await stage.queue.claim(TEST_POOL, token="t1", count=1)
    assert claim.ids == (job.id,)
    (own,) = await stage.state.claim([job.id], token="t1", owner="w-x", types=["test.sleep"])
    return own


async def test_a_hard_time_out_counts_as_a_failure_and_leads_to_a_retry(stage: Stage, writer: Any) -> None:
    job = await owned(stage, max_retries=2)
    await writer(job)
    stored = await stage.job(job)
    assert (stored.state, stored.failures, stored.log[-1].reason) == (JobState.QUEUED, 1, Reason.TIMEOUT)
    assert stored.started_at is not None
    (located,) = await stage.queue.locate(TEST_POOL, [job.id])
    assert located.place in {"delayed", "ready"}


async def test_a_hard_time_out_without_retries_is_the_end(stage: Stage, writer: Any) -> None:
    job = await owned(stage, max_retries=0)
    await writer(job)
    assert (await stage.job(job)).state is JobState.FAILED
    (located,) = await stage.queue.locate(TEST_POOL, [job.id])
    assert located.place is None


async def test_a_hard_time_out_of_a_job_that_was_to_be_cancelled_cancels_it(stage: Stage, writer: Any) -> None:
    job = await owned(stage)
    await stage.state.cancel(job.id, by="test")
    await writer(job)
    assert (await stage.job(job)).state is JobState.CANCELLED


async def test_a_hard_time_out_of_an_attempt_that_is_over_writes_nothing(stage: Stage, writer: Any) -> None:
    job = await owned(stage)
    await writer(job, attempt=7)
    assert (await stage.job(job)).state is JobState.PROCESSING
    release = Settlement(job.id, 1, JobState.QUEUED, Reason.RELEASED)
    await stage.state.settle([release], by="somebody", owner="w-x")
    await writer(job)
    assert await stage.reasons(job) == ["submitted", "claimed", "released"]


async def test_a_hard_time_out_that_cannot_be_written_does_not_keep_the_child_alive(stage: Stage, writer: Any) -> None:
    job = await owned(stage)
    with stage.failing("find", errorCode=50, appName=SUPERVISOR):
        await writer(job)
    assert (await stage.job(job)).state is JobState.PROCESSING


@pytest.mark.slow
async def test_a_child_that_drains_longer_than_a_lease_is_not_taken_for_stuck(supervise: Start, stage: Stage) -> None:
    service = await supervise(shutdown_grace_seconds=30)
    child = only_child(service)
    job = await submit(stage, "test.sleep", {"seconds": 14})
    await running(child, job)
    await service.drain()
    assert child.ended.result().record.kind == "graceful", child.ended.result()
    assert (await stage.job(job)).state == "completed"


async def test_the_hard_limit_holds_for_a_job_whose_document_is_gone(
    supervise: Start, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_watch, "HARD_LIMIT_SECONDS", 0.5)
    service = await supervise()
    old = only_child(service)
    stuck = await submit(stage, "test.block", {"seconds": 60, "slices": False}, timeout_seconds=0.5, max_retries=0)
    await running(old, stuck)
    stage.jobs.delete_one({"_id": stuck.id})
    await eventually(old.ended.done, within=8)
