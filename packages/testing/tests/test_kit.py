"""The kit tells an executor that survives kills from one that only looks so, and says where it breaks."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from headrace.contracts.errors import JobCancelled, LeaseLost
from headrace.contracts.executor import JobContext, JobExecutor, PermanentError, Retry
from headrace.testing.boundary import Boundary
from headrace.testing.ended import Status
from headrace.testing.executors import Steps
from headrace.testing.kills import run_with_kills
from headrace.testing.kit import ExecutorKit


class Count(BaseModel):
    model_config = ConfigDict(extra="forbid")

    to: int = Field(default=3, ge=0)


class Sum(JobExecutor[Count]):
    """Adds 1 … to, with a checkpoint after each; sound."""

    job_type = "sum"
    payload_model = Count
    contract_version = 2

    async def execute(self, context: JobContext, payload: Count) -> JsonValue:
        state: Any = context.checkpoint or {"next": 1, "sum": 0}
        for number in range(state["next"], payload.to + 1):
            await context.report_progress(number / payload.to, f"{number}")
            state = {"next": number + 1, "sum": state["sum"] + number}
            await context.save_checkpoint(state)
        return {"sum": state["sum"]}

    @classmethod
    def upcast(cls, payload: JsonValue, version: int) -> JsonValue:
        assert isinstance(payload, dict)
        return {"to": payload["until"]}


class PlainSum(Sum):
    """The same as a plain function."""

    def execute(self, context: JobContext, payload: Count) -> JsonValue:  # type: ignore[override]
        state: Any = context.checkpoint or {"next": 1, "sum": 0}
        for number in range(state["next"], payload.to + 1):
            context.sync.report_progress(number / payload.to, f"{number}")
            state = {"next": number + 1, "sum": state["sum"] + number}
            context.sync.save_checkpoint(state)
        return {"sum": state["sum"]}


@pytest.mark.parametrize("executor", [Sum, PlainSum])
async def test_an_attempt_ends_with_what_it_returned_saved_and_reported(executor: type[Sum]) -> None:
    ended = await ExecutorKit(executor).run({"to": 2})
    assert (ended.status, ended.result, ended.error, ended.has_returned) == (Status.COMPLETED, {"sum": 3}, None, True)
    assert ended.checkpoints == ({"next": 2, "sum": 1}, {"next": 3, "sum": 3})
    assert ended.checkpoint == '{"next":3,"sum":3}'
    assert ended.progress == ((0.5, "1"), (1.0, "2"))
    assert [str(boundary) for boundary in ended.reached] == [
        "before the start",
        "before progress 1", "after progress 1", "before checkpoint 1", "after checkpoint 1",
        "before progress 2", "after progress 2", "before checkpoint 2", "after checkpoint 2",
        "after the return",
    ]  # fmt: skip


@pytest.mark.parametrize("executor", [Sum, PlainSum])
@pytest.mark.parametrize("at_progress", [False, True])
async def test_a_sound_executor_passes_at_every_boundary(executor: type[Sum], at_progress: bool) -> None:
    report = await run_with_kills(executor, Count(to=3), at_progress=at_progress)
    assert report.uninterrupted.result == {"sum": 6}
    killed_at = [str(boundary) for boundary in report.killed_at]
    assert killed_at[0] == "before the start"
    assert killed_at[-1] == "after the return"
    assert {f"{when} checkpoint {n}" for when in ("before", "after") for n in (1, 2, 3)} <= set(killed_at)
    assert len(killed_at) == (14 if at_progress else 8)
    assert report.attempts == 1 + 2 * len(killed_at) + 4, "at last three attempts are killed, and the fourth ends"


async def test_the_executors_of_this_package_pass_too() -> None:
    report = await ExecutorKit(Steps).run_with_kills({"steps": 3, "seconds": 0})
    assert report.uninterrupted.result == 3


class CountsTwice(Sum):
    """Saves before it adds: what a kill interrupts is lost."""

    async def execute(self, context: JobContext, payload: Count) -> JsonValue:
        state: Any = context.checkpoint or {"next": 1, "sum": 0}
        total = state["sum"]
        for number in range(state["next"], payload.to + 1):
            await context.save_checkpoint({"next": number + 1, "sum": total})
            total += number
        return {"sum": total}


class Remembers(Sum):
    """Keeps its state in the class, which a real kill would take away, so it forgets it here too."""

    async def execute(self, context: JobContext, payload: Count) -> JsonValue:
        self.total = getattr(self, "total", 0)
        done: Any = context.checkpoint or 0
        for number in range(done + 1, payload.to + 1):
            self.total += number
            await context.save_checkpoint(number)
        return self.total


class NumberKeys(Sum):
    """Believes that JSON has numbers as keys."""

    async def execute(self, context: JobContext, payload: Count) -> JsonValue:
        done: Any = context.checkpoint or {}
        for number in range(1, payload.to + 1):
            if number not in done:
                done[number] = number
                await context.save_checkpoint(done)
        return sum(done.values())


class ByAttempt(Sum):
    """Its result depends on the attempt."""

    async def execute(self, context: JobContext, payload: Count) -> JsonValue:
        return context.attempt


class FromTheStart(Sum):
    """Ignores its checkpoint: right, and endless when it is killed often enough."""

    async def execute(self, context: JobContext, payload: Count) -> JsonValue:
        for number in range(payload.to):
            await context.save_checkpoint(number)
        return payload.to


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        (
            CountsTwice,
            "CountsTwice: killed after checkpoint 1, it ends otherwise than an uninterrupted run\n"
            "  uninterrupted: completed, {'sum': 6}\n"
            "  after the kill: completed, {'sum': 5}\n"
            "  it went on from the checkpoint: {'next': 2, 'sum': 0}",
        ),
        (
            Remembers,
            "Remembers: killed after checkpoint 1, it ends otherwise than an uninterrupted run\n"
            "  uninterrupted: completed, 6\n"
            "  after the kill: completed, 5\n"
            "  it went on from the checkpoint: 1",
        ),
        (
            NumberKeys,
            "NumberKeys: killed after checkpoint 1, it ends otherwise than an uninterrupted run\n"
            "  uninterrupted: completed, 6\n"
            "  after the kill: completed, 7\n"
            "  it went on from the checkpoint: {'1': 1}",
        ),
        (
            ByAttempt,
            "ByAttempt: killed before the start, it ends otherwise than an uninterrupted run\n"
            "  uninterrupted: completed, 1\n"
            "  after the kill: completed, 2\n"
            "  it went on from the checkpoint: none",
        ),
        (
            FromTheStart,
            "FromTheStart: killed after the first checkpoint of each attempt, it makes no headway: an uninterrupted"
            " run saves 3, and attempt 8 is still not the last\n  it went on from the checkpoint: 0",
        ),
    ],
)
async def test_an_executor_that_does_not_survive_is_found_and_the_boundary_named(
    executor: type[Sum], message: str
) -> None:
    with pytest.raises(AssertionError) as failed:
        await run_with_kills(executor, {"to": 3})
    assert str(failed.value) == message


class SavesFirst(Sum):
    """Saves what it was given before it goes on, which is no reason to call it stuck."""

    async def execute(self, context: JobContext, payload: Count) -> JsonValue:
        done: Any = context.checkpoint or 0
        await context.save_checkpoint(done)
        for number in range(done, payload.to):
            await context.save_checkpoint(number + 1)
        return payload.to


async def test_an_executor_that_first_saves_what_it_was_given_is_sound() -> None:
    await run_with_kills(SavesFirst, {"to": 3})


class Twice(Sum):
    """Does not do the same twice."""

    runs: ClassVar[list[int]] = []

    async def execute(self, context: JobContext, payload: Count) -> JsonValue:
        self.runs.append(1)
        for number in range(4 - len(self.runs)):
            await context.save_checkpoint(number)
        return 1


async def test_a_run_that_does_not_come_to_the_same_boundaries_again_is_said() -> None:
    with pytest.raises(AssertionError, match=r"Twice: a second run did not come to where .*, after checkpoint 1: it"):
        await run_with_kills(Twice, {})


class AppendPayload(BaseModel):
    file: Path


class Appends(JobExecutor[AppendPayload]):
    """Writes to the outside world without looking at what is there."""

    job_type = "appends"
    payload_model = AppendPayload

    def execute(self, context: JobContext, payload: AppendPayload) -> JsonValue:
        with payload.file.open("a") as file:
            file.write("x")
        context.sync.save_checkpoint(1)
        return None


async def test_effects_outside_are_compared_when_they_are_shown(tmp_path: Path) -> None:
    files: list[Path] = []

    def fresh() -> AppendPayload:
        files.append(tmp_path / f"run-{len(files)}")
        return AppendPayload(file=files[-1])

    await run_with_kills(Appends, fresh)
    files.clear()
    for old in tmp_path.iterdir():
        old.unlink()
    with pytest.raises(AssertionError, match=r"killed before checkpoint 1, it ends (.|\n)*effects: 'x'\n.*'xx'"):
        await run_with_kills(Appends, fresh, observe=lambda: files[-1].read_text())


async def test_of_many_boundaries_some_are_tried_the_first_and_the_last_among_them() -> None:
    report = await run_with_kills(Sum, {"to": 40}, at_most=5)
    assert len(report.killed_at) == 5
    assert str(report.killed_at[0]) == "before the start"
    assert str(report.killed_at[-1]) == "after the return"


class Ends(Sum):
    """Ends as the test says."""

    how: ClassVar[Any] = None

    def execute(self, context: JobContext, payload: Count) -> JsonValue:  # type: ignore[override]
        context.log.info("ends.now", how=str(self.how))
        if isinstance(self.how, BaseException):
            raise self.how
        result: JsonValue = self.how
        return result


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (1, Status.COMPLETED),
        (None, Status.COMPLETED),
        (object(), Status.FAILED),
        (float("nan"), Status.FAILED),
        ("x" * 2000, Status.FAILED),
        (PermanentError("no"), Status.FAILED),
        (Retry("again"), Status.RETRY),
        (ValueError("oops"), Status.RETRY),
        (SystemExit(1), Status.RETRY),
    ],
)
async def test_every_way_to_end_has_the_status_that_a_worker_would_give_it(
    how: Any, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ends, "how", how)
    kit = ExecutorKit(Ends, limit_bytes=1000)
    ended = await kit.run({})
    assert ended.status is status
    assert (ended.error is None) == (status is Status.COMPLETED)
    assert [event for _, event, _ in ended.logs] == ["ends.now"]
    if status is not Status.COMPLETED:
        with pytest.raises(AssertionError, match="the uninterrupted run should end completed; it ended "):
            await kit.run_with_kills({})
        assert (await kit.run_with_kills({}, expected=status)).uninterrupted.status is status


async def test_payloads_are_validated_and_upcast_as_in_a_worker() -> None:
    kit = ExecutorKit(Sum)
    assert (await kit.run({"until": 2}, version=1)).result == {"sum": 3}
    assert (await kit.run({"to": 2}, version=2)).result == {"sum": 3}
    refused = await kit.run({"until": 2})
    assert (refused.status, refused.has_returned) == (Status.FAILED, False)
    assert type(refused.error).__name__ == "ValidationError"
    broken = await kit.run({}, version=1)
    assert (broken.status, type(broken.error)) == (Status.RETRY, KeyError)


class Waits(Sum):
    """Waits between two checkpoints, and tidies up."""

    tidied: ClassVar[list[str]] = []

    async def execute(self, context: JobContext, payload: Count) -> JsonValue:
        try:
            await context.save_checkpoint(1)
            await asyncio.sleep(60)
        except (asyncio.CancelledError, JobCancelled, LeaseLost) as error:
            self.tidied.append(type(error).__name__)
            raise
        return 1


@pytest.mark.parametrize(("where", "status"), [("cancel", Status.CANCELLED), ("lose", Status.LOST)])
async def test_a_stop_reaches_a_coroutine_at_a_call_and_where_it_waits(where: str, status: Status) -> None:
    kit = ExecutorKit(Waits)
    for boundary, how in (
        (Boundary.before_checkpoint(1), "JobCancelled" if where == "cancel" else "LeaseLost"),
        (Boundary.after_checkpoint(1), "CancelledError"),
    ):
        Waits.tidied.clear()
        ended = await kit.run({}, **{where: boundary})
        assert (ended.status, ended.has_returned, ended.result, ended.error) == (status, False, None, None)
        assert Waits.tidied == [how]
        assert len(ended.checkpoints) == (1 if boundary.is_after else 0), "nothing is saved once it was told"
    unstarted = await kit.run({}, **{where: Boundary.start()})
    assert (unstarted.status, unstarted.checkpoints) == (status, ())
    late = await ExecutorKit(Sum).run({}, **{where: Boundary.end()})
    assert (late.status, late.has_returned, late.result) == (status, True, None)


class Looks(Sum):
    """A plain function that looks at the flag, or does not."""

    looks: ClassVar[bool] = True

    def execute(self, context: JobContext, payload: Count) -> JsonValue:  # type: ignore[override]
        context.sync.report_progress(0.1)
        if self.looks and context.cancelled:
            context.sync.report_progress(0.2)
        (context.scratch_dir / "left").write_text(threading.current_thread().name)
        return str(context.scratch_dir)


async def test_a_plain_function_that_does_not_look_is_seen_to_have_run_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kit = ExecutorKit(Looks)
    told = await kit.run({}, cancel=Boundary.after_progress(1))
    assert (told.status, told.has_returned, len(told.progress)) == (Status.CANCELLED, False, 1)
    monkeypatch.setattr(Looks, "looks", False)
    deaf = await kit.run({}, cancel=Boundary.before_progress(2))
    assert (deaf.status, deaf.has_returned) == (Status.COMPLETED, True), "that boundary was never reached"
    deaf = await kit.run({}, cancel=Boundary.after_progress(1))
    assert (deaf.status, deaf.has_returned, deaf.result) == (Status.CANCELLED, True, None)


async def test_a_scratch_folder_is_gone_after_the_attempt() -> None:
    ended = await ExecutorKit(Looks).run({})
    assert isinstance(ended.result, str)
    assert not Path(ended.result).exists()


class Swallows(Sum):
    """Catches what no executor must catch."""

    async def execute(self, context: JobContext, payload: Count) -> JsonValue:
        for number in range(3):
            try:
                await context.save_checkpoint(number)
            except BaseException:  # noqa: BLE001 -- that is the point
                continue
        return "survived"


async def test_a_killed_attempt_saves_and_returns_nothing_whatever_it_catches() -> None:
    ended = await ExecutorKit(Swallows).run({}, kill=Boundary.before_checkpoint(2))
    assert (ended.status, ended.result, ended.checkpoint) == (Status.KILLED, None, "0")


class BadCheckpoint(Sum):
    """Saves what the limits forbid."""

    async def execute(self, context: JobContext, payload: Count) -> JsonValue:
        for value in ({1, 2}, "x" * 2000):
            with pytest.raises(ValueError, match="the checkpoint"):
                await context.save_checkpoint(value)  # type: ignore[arg-type]
        return context.checkpoint


async def test_checkpoints_that_a_worker_would_refuse_are_refused() -> None:
    ended = await ExecutorKit(BadCheckpoint, limit_bytes=1000).run({}, checkpoint='"before"')
    assert (ended.result, ended.checkpoints) == ("before", ())


class Hangs(Sum):
    def execute(self, context: JobContext, payload: Count) -> JsonValue:  # type: ignore[override]
        time.sleep(0.3)
        return None


async def test_an_attempt_that_does_not_end_fails_the_test_instead_of_holding_it() -> None:
    with pytest.raises(AssertionError, match=r"did not end within 0\.05 s"):
        await ExecutorKit(Hangs, timeout_seconds=0.05).run({})
