"""A whole child in this process: its loops, its hints, its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from worker_stage import Stage

from headrace.contracts.config import JobConfig
from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.runtime.process.ids import new_incarnation
from headrace.runtime.queue.hints import Hints
from headrace.runtime.store.pools import Pools
from headrace.testing.eventually import eventually
from headrace.testing.executors import TEST_POOL, read_effects
from headrace.worker import child as child_module
from headrace.worker import claim_loop
from headrace.worker.board import Board
from headrace.worker.child import SPEC_VARIABLE
from headrace.worker.child_spec import ChildSpec
from headrace.worker.job_worker import JobWorker
from headrace.worker.registry import load_executors

CHILD = "headrace-worker"
"""The name that a child gives its connections to MongoDB."""
TYPES = ("test.sleep", "test.block", "test.fail", "test.steps", "noop", "crawl")


class Rig:
    """A booted worker and the supervisor's view of its board."""

    def __init__(self, stage: Stage, config: JobConfig, *, slots: int, grace_seconds: float) -> None:
        self.stage = stage
        self.board = Board.create(slots)
        descriptor, scratch = os.dup(self.board.descriptor), tempfile.mkdtemp()
        self.spec = ChildSpec(new_incarnation(), TEST_POOL, TYPES, slots, descriptor, grace_seconds, scratch)
        self.worker = JobWorker(self.spec, config, load_executors(test_mode=True, only=TYPES))
        self.drained = False

    async def drain(self) -> None:
        """Drain once."""
        if not self.drained:
            self.drained = True
            await asyncio.to_thread(self.worker.drain)
            await asyncio.to_thread(self.worker.close)
            self.worker._board.close()

    async def submit(self, type_: str, payload: dict[str, Any] | None = None, **fields: Any) -> Job:
        (job,) = await self.stage.submit(type=type_, pool=TEST_POOL, payload=json.dumps(payload or {}), **fields)
        return job

    async def done(self, job: Job, state: str = "completed") -> Job:
        return await eventually(lambda: self.stage.in_state(job, state), what=f"{job.type} {state}") or job


Boot = Callable[..., Any]


@pytest.fixture
async def boot(stage: Stage, worker_config: JobConfig) -> AsyncIterator[Boot]:
    rigs: list[Rig] = []

    async def start(*, slots: int = 2, grace_seconds: float = 5.0) -> Rig:
        rig = Rig(stage, worker_config, slots=slots, grace_seconds=grace_seconds)
        rigs.append(rig)
        await stage.incarnations.register(
            rig.spec.incarnation, service="s", host="h", pool=TEST_POOL, types=TYPES, slots=slots, version="0",
            lease_seconds=60,
        )  # fmt: skip
        await asyncio.to_thread(rig.worker.boot)
        return rig

    yield start
    for rig in rigs:
        await rig.drain()
        rig.board.close()


async def test_jobs_of_every_kind_run_in_one_child(boot: Boot, tmp_path: Path) -> None:
    rig = await boot()
    assert rig.board.ready
    effects = tmp_path / "effects"
    fine = await rig.submit("test.sleep", {"seconds": 0.01, "result": [1]})
    failing = await rig.submit("test.fail")
    dead = await rig.submit("test.fail", {"how": "permanent"})
    steps = await rig.submit("test.steps", {"steps": 3, "seconds": 0.01, "effects": str(effects)})
    blocking = await rig.submit("test.block", {"seconds": 0.05})
    misfit = await rig.submit("test.sleep", {"seconds": -1})
    assert (await rig.done(fine)).result == "[1]"
    assert (await rig.done(failing)).failures == 1
    assert (await rig.done(dead, "failed")).error.type == "PermanentError"
    stored = await rig.done(steps)
    assert (stored.result, stored.checkpoint, stored.progress.fraction) == ("3", "3", 1.0)
    assert len(read_effects(effects)) == 3
    await rig.done(blocking)
    assert (await rig.done(misfit, "failed")).error.type.endswith("InvalidPayload")
    await eventually(lambda: rig.board.counters() == (4, 3, 0))
    assert rig.board.running() == []


async def test_b12_a_pause_in_mongodb_stops_claims_within_two_seconds_though_redis_never_hears_of_it(
    boot: Boot, stage: Stage, tmp_path: Path
) -> None:
    rig = await boot()
    running = await rig.submit("test.sleep", {"seconds": 3})
    await eventually(lambda: stage.in_state(running, "processing"))
    pools = Pools(stage.database)
    await pools.pause(TEST_POOL, "a fire", "me")
    await asyncio.sleep(2)
    waiting = await rig.submit("test.sleep", {"seconds": 0})
    await rig.done(running)  # what runs runs on
    await asyncio.sleep(0.5)
    assert (await stage.job(waiting)).state is JobState.QUEUED
    await pools.resume(TEST_POOL, "me")
    await rig.done(waiting)


async def test_a_waiting_child_is_woken_and_does_not_wait_for_its_poll(
    boot: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_loop, "POLL_SECONDS", 60.0)
    rig = await boot()
    await asyncio.sleep(0.3)  # it has found nothing, and listens
    for _ in range(3):
        await rig.done(await rig.submit("noop"))


async def test_a_slow_jobs_progress_is_saved_while_it_runs(boot: Boot) -> None:
    rig = await boot()
    job = await rig.submit("test.steps", {"steps": 30, "seconds": 0.1})

    async def seen() -> bool:
        stored = await rig.stage.job(job)
        return stored.state is JobState.PROCESSING and stored.progress is not None

    await eventually(seen)
    await rig.stage.state.cancel(job.id, by="test")
    await rig.done(job, "cancelled")


async def test_a_cancel_that_is_announced_is_carried_out_within_a_second_and_nonsense_does_no_harm(
    boot: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.worker.job_worker.AUDIT_SECONDS", 60.0)
    rig = await boot()
    hints = Hints(rig.stage.redis, rig.stage.config.namespace)
    job = await rig.submit("test.sleep", {"seconds": 60})
    await eventually(lambda: rig.board.running())
    await asyncio.sleep(0.2)
    for nonsense in ({"cancel": 7}, {"cancel": "no-such-job"}, {}, {"cancel": job.id}):
        await hints.control(nonsense)
    assert (await rig.stage.job(job)).state is JobState.PROCESSING, "MongoDB decides, not the hint"
    await rig.stage.state.cancel(job.id, by="test")
    with rig.stage.failing("find", times=1, errorCode=50, appName=CHILD):
        await hints.control({"cancel": job.id})
        await asyncio.sleep(0.1)
    await hints.control({"cancel": job.id})
    await eventually(lambda: rig.stage.in_state(job, "cancelled"), within=5)


async def test_timeouts_are_enforced_inside_the_child(boot: Boot) -> None:
    rig = await boot()
    coroutine = await rig.submit("test.sleep", {"seconds": 60}, timeout_seconds=0.3, max_retries=0)
    plain = await rig.submit("test.block", {"seconds": 60}, timeout_seconds=0.3, max_retries=0)
    for job in (coroutine, plain):
        stored = await rig.done(job, "failed")
        assert (stored.error.type, stored.log[-1].reason, stored.crashes) == ("timeout", "timeout", 0)


async def test_draining_finishes_what_runs_hands_back_what_does_not_end_and_says_goodbye(boot: Boot) -> None:
    rig = await boot(slots=2, grace_seconds=2)
    short = await rig.submit("test.sleep", {"seconds": 0.3})
    long = await rig.submit("test.sleep", {"seconds": 60})
    await eventually(lambda: len(rig.board.running()) == 2)
    await rig.drain()
    assert (await rig.stage.job(short)).state is JobState.COMPLETED
    stored = await rig.stage.job(long)
    assert (stored.state, stored.log[-1].reason, stored.failures) == (JobState.QUEUED, "released", 0)
    document = await rig.stage.incarnations.get(rig.spec.incarnation)
    assert document is not None
    assert document.dead_at is not None
    assert document.exit.kind == "graceful"
    assert not rig.worker._scratch_root.exists()


async def test_draining_while_mongodb_is_away_ends_in_bounded_time(boot: Boot) -> None:
    rig = await boot(grace_seconds=0.2)
    job = await rig.submit("test.sleep", {"seconds": 0.2})
    await eventually(lambda: rig.board.running())
    with rig.stage.failing("update", "find", errorCode=50, appName=CHILD):
        await rig.drain()
    assert (await rig.stage.job(job)).state is JobState.PROCESSING, "left to recovery"
    document = await rig.stage.incarnations.get(rig.spec.incarnation)
    assert document is not None
    assert document.dead_at is None


# -- python -m headrace.worker.child, in this process ----------------------------------------------------------


@pytest.fixture
def kept_signals() -> Iterator[None]:
    """Handlers as they were, and a standard input that has ended: the supervisor is gone."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stdin, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    yield
    os.dup2(stdin, 0)
    os.close(stdin)
    os.close(nothing)
    for number, handler in kept.items():
        signal.signal(number, handler)


class Ended(BaseException):
    pass


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch, kept_signals: None) -> list[int]:
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(child_module, "configure_logging", lambda *_, **__: None)
    return codes


def spec_text(board: Board, types: tuple[str, ...] = ("noop",)) -> str:
    fields = {"incarnation": new_incarnation(), "pool": "default", "types": types, "slots": 1, "grace_seconds": 1.0}
    return json.dumps({**fields, "scratch": tempfile.mkdtemp(), "board_descriptor": os.dup(board.descriptor)})


def test_a_child_whose_supervisor_is_gone_from_the_start_boots_and_drains(
    worker_config: JobConfig, exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board.create(1)
    monkeypatch.setenv(SPEC_VARIABLE, spec_text(board))
    with pytest.raises(Ended):
        child_module.main()
    assert exits == [0]
    assert board.ready
    board.close()


def test_a_child_that_cannot_boot_ends_at_once(
    worker_config: JobConfig, exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board.create(1)
    monkeypatch.setenv(SPEC_VARIABLE, spec_text(board))

    def refuse(_: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("headrace.worker.executors.noop.NoopExecutor.__init__", refuse)
    with pytest.raises(Ended):
        child_module.main()
    assert exits == [1]
    board.close()


def test_a_child_with_a_wrong_setting_says_so_in_one_line(
    worker_config: JobConfig, exits: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOB_TEST_MODE", "perhaps")
    assert child_module.main() == 2
    assert capsys.readouterr().err.startswith("headrace-worker child: JOB_TEST_MODE: ")
    assert exits == []
