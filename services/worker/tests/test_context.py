"""What a running job is given: every write is guarded by its attempt, and waits while the store is away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from worker_stage import Child, Stage

from headrace.contracts.errors import JobCancelled, LeaseLost
from headrace.contracts.job import Job
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store.values import Settlement
from headrace.testing.eventually import eventually
from headrace.worker import sync_context
from headrace.worker.context import RunningContext
from headrace.worker.held import Held, Phase, Stop
from headrace.worker.interrupt import SoftLimit, interrupt_thread

Open = Callable[..., Any]


class Scene:
    """A claimed and running job with its context."""

    def __init__(self, stage: Stage, child: Child, scratch: Path) -> None:
        self.stage, self.child, self.scratch = stage, child, scratch

    async def open(self, **fields: Any) -> tuple[Held, RunningContext]:
        await self.stage.claimed(self.child, **fields)
        held = await self.child.take()
        return held, self.context(held)

    def context(self, held: Held) -> RunningContext:
        return RunningContext(
            held,
            state=self.stage.state,
            owner=self.child.incarnation,
            loop=asyncio.get_running_loop(),
            limit_bytes=100,
            scratch_root=self.scratch,
        )

    async def take_away(self, held: Held) -> Job:
        release = Settlement(held.job.id, 1, JobState.QUEUED, Reason.RELEASED)
        await self.stage.state.settle([release], by="recovery", owner=self.child.incarnation)
        return await self.stage.job(held)


@pytest.fixture
async def scene(stage: Stage, tmp_path: Path) -> Scene:
    return Scene(stage, stage.child(start=False), tmp_path)


async def test_a_checkpoint_is_durable_when_the_call_returns_and_marks_the_start(scene: Scene) -> None:
    held, context = await scene.open()
    assert (context.checkpoint, context.job_id, context.attempt) == (None, held.job.id, 1)
    await context.save_checkpoint({"page": 3, "digits": 12345678901234567890})
    stored = await scene.stage.job(held)
    assert stored.checkpoint == '{"page":3,"digits":12345678901234567890}'
    assert stored.checkpoint_attempt == 1
    assert stored.started_at is not None
    assert context.checkpoint == {"page": 3, "digits": 12345678901234567890}


async def test_the_next_attempt_goes_on_from_the_last_checkpoint(scene: Scene) -> None:
    held, context = await scene.open()
    await context.save_checkpoint([1, 2])
    job = await scene.take_away(held)
    (again,) = await scene.stage.state.claim([job.id], token="t2", owner=scene.child.incarnation, types=["noop"])
    assert scene.context(Held(again, "t2")).checkpoint == [1, 2]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "not JSON"),
        ("\ud800", "not JSON"),
        ({1, 2}, "not JSON"),
        ("x" * 99, "101 bytes as JSON; 100 are allowed"),
    ],
)
async def test_a_checkpoint_that_cannot_be_kept_is_refused_and_the_job_goes_on(
    scene: Scene, value: Any, message: str
) -> None:
    held, context = await scene.open()
    with pytest.raises(ValueError, match=message):
        await context.save_checkpoint(value)
    assert held.stop is None
    assert (await scene.stage.job(held)).checkpoint is None


async def test_a_lost_attempt_can_write_nothing_more(scene: Scene) -> None:
    held, context = await scene.open()
    before = await scene.take_away(held)
    with pytest.raises(LeaseLost):
        await context.save_checkpoint(1)
    assert held.stop is Stop.LOST
    assert context.cancelled
    with pytest.raises(LeaseLost):
        await context.report_progress(0.5)
    assert await scene.stage.job(held) == before


async def test_a_cancel_is_found_at_the_next_checkpoint(scene: Scene) -> None:
    held, context = await scene.open()
    await scene.stage.state.cancel(held.job.id, by="test")
    with pytest.raises(JobCancelled):
        await context.save_checkpoint(1)
    assert held.stop is Stop.CANCEL
    with pytest.raises(JobCancelled):
        context.check()


@pytest.mark.parametrize(("stop", "error"), [("cancel", JobCancelled), ("lost", LeaseLost), ("release", LeaseLost)])
async def test_a_stopped_job_hears_it_at_every_call(scene: Scene, stop: Stop, error: type[Exception]) -> None:
    held, context = await scene.open()
    context.check()
    held.ask_to_stop(Stop(stop))
    assert context.cancelled
    for call in (context.report_progress(0.1), context.save_checkpoint(1)):
        with pytest.raises(error):
            await call


async def test_progress_is_saved_by_the_flush_and_not_by_the_call(scene: Scene) -> None:
    held, context = await scene.open()
    await context.flush_progress()
    await context.report_progress(0.25, "a quarter")
    assert (await scene.stage.job(held)).progress is None
    await context.flush_progress()
    stored = await scene.stage.job(held)
    assert stored.progress is not None
    assert (stored.progress.fraction, stored.progress.message) == (0.25, "a quarter")
    assert stored.started_at is not None
    await context.flush_progress()
    assert await scene.stage.job(held) == stored, "what has not changed is not written again"


@pytest.mark.parametrize(
    ("fraction", "message", "stored"),
    [
        (7, "x" * 2000, (1.0, "x" * 1000)),
        (-1, "", (0.0, "")),
        (float("nan"), "a\ud800b\0c", (0.0, "a?b�c")),
        (float("inf"), "$set.a", (1.0, "$set.a")),
    ],
)
async def test_any_progress_can_be_stored_also_with_the_settlement(
    scene: Scene, fraction: float, message: str, stored: tuple[float, str]
) -> None:
    held, context = await scene.open()
    await context.report_progress(fraction, message)
    await context.flush_progress()
    progress = (await scene.stage.job(held)).progress
    assert progress is not None
    assert (progress.fraction, progress.message) == stored == context.progress


async def test_progress_that_meets_an_outage_goes_with_the_next_flush(scene: Scene) -> None:
    held, context = await scene.open()
    await context.report_progress(0.5, "half")
    with scene.stage.failing("update", times=1, errorCode=50):
        await context.flush_progress()
    assert (await scene.stage.job(held)).progress is None
    await context.flush_progress()
    progress = (await scene.stage.job(held)).progress
    assert progress is not None
    assert progress.message == "half"


async def test_the_flush_finds_out_that_the_job_should_stop(scene: Scene) -> None:
    cancelled, one = await scene.open()
    lost, other = await scene.open()
    await scene.stage.state.cancel(cancelled.job.id, by="test")
    await scene.take_away(lost)
    for context in (one, other):
        await context.report_progress(0.1)
        await context.flush_progress()
    assert (cancelled.stop, lost.stop) == (Stop.CANCEL, Stop.LOST)


async def test_while_mongodb_is_away_a_checkpoint_waits_and_is_saved_then(scene: Scene) -> None:
    held, context = await scene.open()
    with scene.stage.failing("update", times=2, errorCode=50):
        await context.save_checkpoint("x")
    assert (await scene.stage.job(held)).checkpoint == '"x"'


async def test_a_job_that_is_told_to_stop_waits_no_longer_for_mongodb(scene: Scene) -> None:
    held, context = await scene.open()
    with scene.stage.failing("update", errorCode=50):
        asyncio.get_running_loop().call_later(0.1, held.ask_to_stop, Stop.RELEASE)
        with pytest.raises(LeaseLost):
            await context.save_checkpoint("x")


# -- plain functions -------------------------------------------------------------------------------------------


async def test_plain_functions_have_waiting_forms(scene: Scene) -> None:
    held, context = await scene.open()
    await asyncio.to_thread(context.sync.save_checkpoint, [7])
    await asyncio.to_thread(context.sync.report_progress, 0.75, "soon")
    assert (await scene.stage.job(held)).checkpoint == "[7]"
    assert context.progress == (0.75, "soon")
    held.ask_to_stop(Stop.CANCEL)
    with pytest.raises(JobCancelled):
        await asyncio.to_thread(context.sync.save_checkpoint, [8])


async def test_a_time_limit_reaches_a_plain_function_that_waits_for_mongodb(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_context, "INTERRUPT_CHECK_SECONDS", 0.05)
    held, context = await scene.open()
    ident: list[int] = []

    def work() -> str:
        ident.append(threading.get_ident())
        try:
            context.sync.save_checkpoint("x")
        except SoftLimit:
            return "over"
        return "saved"

    with scene.stage.failing("update", errorCode=50):
        began = time.monotonic()
        task = asyncio.create_task(asyncio.to_thread(work))
        await eventually(lambda: bool(ident))
        await asyncio.sleep(0.2)
        assert held.phase is Phase.RUNNING
        assert interrupt_thread(held, ident[0], SoftLimit)
        assert await task == "over"
        assert time.monotonic() - began < 5


async def test_a_slow_answer_is_waited_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_context, "INTERRUPT_CHECK_SECONDS", 0.02)
    _, context = await scene.open()

    async def slow() -> str:
        await asyncio.sleep(0.15)
        return "there"

    async def late() -> str:
        await asyncio.sleep(0.05)
        raise TimeoutError("its own")

    assert await asyncio.to_thread(context.sync.wait, slow) == "there"
    with pytest.raises(TimeoutError, match="its own"):
        await asyncio.to_thread(context.sync.wait, late)


async def test_scratch_folders_are_made_on_first_use_and_removed_with_everything_in_them(scene: Scene) -> None:
    _, context = await scene.open()
    context.close()
    folder = context.scratch_dir
    assert folder.parent == scene.scratch
    (folder / "a").mkdir()
    (folder / "a" / "b").write_text("x")
    context.close()
    assert not folder.exists()


async def test_the_jobs_logger_carries_its_id_and_attempt(scene: Scene) -> None:
    with capture_logs() as lines:
        held, context = await scene.open()
        context.log.info("step.done", page=1)
    (line,) = [line for line in lines if line["event"] == "step.done"]
    assert (line["job_id"], line["attempt"], line["type"], line["page"]) == (held.job.id, 1, "noop", 1)
