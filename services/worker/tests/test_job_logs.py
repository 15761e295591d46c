"""What a job prints and logs is kept with it, and with no other."""

# ruff: noqa: T201 -- printing is what is tested

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from dramatiq.asyncio import EventLoopThread
from structlog.testing import capture_logs
from worker_plugins import write_plugin
from worker_stage import Stage

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import ExecutionPolicy, JobExecutor
from headrace.contracts.states import JobState
from headrace.runtime.process.ids import new_incarnation
from headrace.runtime.store.job_logs import JobLogs, LogBatch, LogLine
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually
from headrace.worker import attempt_log as attempt_log_module
from headrace.worker import job_logs, job_output
from headrace.worker.attempt_log import CURRENT, AttemptLog
from headrace.worker.board import Board
from headrace.worker.child_process import ChildProcess
from headrace.worker.held import Held, Stop
from headrace.worker.job_logs import JobLogWriter
from headrace.worker.job_output import JobLogger, capture_output
from headrace.worker.pools import ChildPlan
from headrace.worker.runner import Runner


def attempt_log(notes: list[AttemptLog] | None = None) -> AttemptLog:
    return AttemptLog(make_job(attempt=1), (notes if notes is not None else []).append)


def texts(batch: LogBatch | None) -> list[str]:
    assert batch is not None
    return [text for _, _, _, text in batch.lines]


# -- one attempt's lines ---------------------------------------------------------------------------------------


def test_a_line_counts_when_it_ends_and_the_last_one_when_the_attempt_does() -> None:
    lines = attempt_log()
    lines.write("stdout", "one\ntw")
    lines.write("stderr", "odd")
    lines.write("stdout", "o\n")
    assert texts(lines.take()) == ["one", "two"]
    assert lines.take() is None
    lines.end()
    assert texts(lines.take()) == ["odd"]


def test_the_last_lines_are_kept_by_number_and_by_bytes() -> None:
    lines = attempt_log()
    for number in range(attempt_log_module.MAX_LINES + 7):
        lines.say("info", str(number))
    batch = lines.take()
    assert texts(batch)[0] == "7"
    assert batch is not None
    assert (len(batch.lines), batch.keep) == (attempt_log_module.MAX_LINES, attempt_log_module.MAX_LINES)
    for _ in range(30):
        lines.say("info", "é" * 10_000)
    batch = lines.take()
    assert batch is not None
    assert sum(len(text.encode()) for text in texts(batch)) <= attempt_log_module.MAX_BYTES
    assert batch.keep == len(batch.lines) == attempt_log_module.MAX_BYTES // (attempt_log_module.MAX_CHARACTERS * 2)


def test_an_endless_line_is_cut_and_holds_no_memory() -> None:
    lines = attempt_log()
    for _ in range(100):
        lines.write("stdout", "x" * 1000)
    assert set(texts(lines.take())) == {"x" * attempt_log_module.MAX_CHARACTERS}
    assert sum(map(len, lines._parts.values())) < attempt_log_module.MAX_CHARACTERS


def test_news_are_noted_once_until_they_are_taken_and_again_when_they_are_put_back() -> None:
    notes: list[AttemptLog] = []
    lines = attempt_log(notes)
    lines.say("info", "a\nb")
    assert notes == [lines]
    batch = lines.take()
    assert batch is not None
    assert not lines.has_news
    lines.put_back(batch)
    lines.say("info", "c")
    assert len(notes) == 2
    assert texts(lines.take()) == ["a", "b", "c"]
    lines.say("info", "d")
    lines.discard()
    assert lines.take() is None


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_the_jobs_logger_speaks_to_both_logs_and_keeps_what_the_services_level_hides() -> None:
    lines = attempt_log()
    with capture_logs() as seen:
        logger = JobLogger(lines, structlog.get_logger("headrace.job").bind(job_id="j")).bind(page=3)
        logger.debug("a.b", n=1, word="x", odd=Broken())
        logger.info("nul\0")
        logger.warning("w")
        try:
            raise ValueError("bad")
        except ValueError:
            logger.exception("failed")
        logger.error("e")
    assert [line["event"] for line in seen] == ["a.b", "nul\0", "w", "failed", "e"]
    assert seen[0]["job_id"] == "j"
    batch = lines.take()
    assert texts(batch) == [
        "a.b page=3 n=1 word=x odd=<RuntimeError>",
        "nul\N{REPLACEMENT CHARACTER} page=3",
        "w page=3",
        "failed page=3 error=ValueError('bad')",
        "e page=3",
    ]
    assert [line[2] for line in batch.lines] == ["debug", "info", "warning", "error", "error"]  # type: ignore[union-attr]


def test_output_belongs_to_the_attempt_that_runs_here_and_else_goes_where_it_went(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = attempt_log()
    undo = capture_output()
    try:
        print("nobody's")
        CURRENT.set(lines)
        print("mine")
        sys.stderr.writelines(["to stderr", "\n"])
        logging.getLogger("some.library").warning("odd %s", "thing")
        job_output._Records().emit(logging.LogRecord("l", logging.ERROR, "", 0, "wrong %d", ("x",), None))
        CURRENT.set(None)
        sys.stdout.flush()
    finally:
        CURRENT.set(None)
        undo()
    assert capsys.readouterr().out == "nobody's\n"
    assert texts(lines.take()) == ["mine", "to stderr", "some.library: odd thing", "l: wrong %d"]


# -- jobs that run ---------------------------------------------------------------------------------------------


class Talks(JobExecutor[Any]):
    job_type = "talks"
    payload_model = dict  # type: ignore[assignment]
    policy = ExecutionPolicy()


class TalksAsync(Talks):
    job_type = "talks.async"

    async def execute(self, context: Any, payload: Any) -> None:
        async def child() -> None:
            print(f"child of {context.job_id}")

        for number in range(5):
            print(f"{context.job_id} {number}")
            context.log.info("step", n=number)
            await asyncio.sleep(0.01)
        await asyncio.gather(child())
        await asyncio.to_thread(print, f"thread of {context.job_id}")


class TalksPlain(Talks):
    job_type = "talks.plain"

    def execute(self, context: Any, payload: Any) -> None:
        for number in range(5):
            print(f"{context.job_id} {number}", file=sys.stderr)
        print("no end of line", end="")
        context.log.debug("quiet")


class Scene:
    def __init__(self, stage: Stage, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stage = stage
        self.store = JobLogs(stage.database)
        self.writer = JobLogWriter(self.store, asyncio.get_running_loop())
        self.thread = EventLoopThread(logging.getLogger("test"), interrupt_check_ival=0.05)
        self.thread.start(timeout=5)
        self.board = Board.create(8)
        self.runner = Runner(
            executors={"talks.async": TalksAsync(), "talks.plain": TalksPlain()},
            config=JobConfig(),
            incarnation="w-1",
            state=None,  # type: ignore[arg-type]  # nothing is saved here
            board=self.board,
            thread=self.thread,
            scratch_root=scratch,
            logs=self.writer,
        )
        monkeypatch.setattr("headrace.worker.runner.payload_of", lambda executor, held: {})

    def held(self, type_: str, attempt: int = 1) -> Held:
        return Held(make_job(type=type_, state=JobState.PROCESSING, attempt=attempt, owner="w-1"), "t")

    async def run(self, *jobs: Held) -> None:
        undo = capture_output()  # not in a fixture: pytest changes the streams after it
        try:
            await asyncio.gather(*(asyncio.to_thread(self.runner.run, held) for held in jobs))
        finally:
            undo()

    async def lines(self, held: Held) -> list[LogLine]:
        return await self.store.read(held.job.id, after=0, limit=1000)


@pytest.fixture
async def scene(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    scene = Scene(stage, tmp_path, monkeypatch)
    yield scene
    await asyncio.to_thread(scene.thread.stop)
    scene.board.close()


async def test_lines_of_jobs_that_run_at_once_do_not_mix(scene: Scene) -> None:
    jobs = [scene.held(type_) for type_ in ("talks.async", "talks.plain") * 3]
    running = asyncio.create_task(scene.writer.run())
    await scene.run(*jobs)
    for held in jobs:
        assert held.settlement is not None
        assert held.settlement.to is JobState.COMPLETED, held.settlement
        expected = {"talks.async": 12, "talks.plain": 7}[held.job.type]

        async def stored(held: Held = held, expected: int = expected) -> bool:
            found = await scene.lines(held)
            assert len(found) == expected, [(line.level, line.text) for line in found]
            return True

        await eventually(stored)
        said = [(line.level, line.text) for line in await scene.lines(held)]
        job_id = held.job.id
        if held.job.type == "talks.plain":
            assert said == [
                *(("stderr", f"{job_id} {number}") for number in range(5)),
                ("debug", "quiet"),
                ("stdout", "no end of line"),
            ]
        else:
            assert said[:2] == [("stdout", f"{job_id} 0"), ("info", "step n=0")]
            assert said[-2:] == [("stdout", f"child of {job_id}"), ("stdout", f"thread of {job_id}")]
    scene.writer.stop()
    await running


async def test_what_an_attempt_that_was_taken_away_had_not_written_is_forgotten(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = scene.held("talks.plain")

    def lose(*_: Any) -> None:
        print("late")
        held.stop = Stop.LOST

    monkeypatch.setattr(TalksPlain, "execute", lose)
    await scene.run(held)
    await scene.writer.flush()
    assert await scene.lines(held) == []


async def test_lines_wait_while_mongodb_is_away_and_come_once(scene: Scene) -> None:
    held = scene.held("talks.plain")
    with scene.stage.failing("update", errorCode=50), capture_logs() as seen:
        await scene.run(held)
        await scene.writer.flush()
        await scene.writer.flush()
    assert [line["event"] for line in seen if line["event"].startswith("job_logs")] == ["job_logs.waiting_for_store"]
    assert await scene.lines(held) == []
    await scene.writer.flush()
    assert len(await scene.lines(held)) == 7


async def test_too_many_attempts_that_wait_lose_their_lines_the_oldest_first(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_logs, "MAX_UNSAVED", 2)
    monkeypatch.setattr(job_logs, "BATCH", 1)
    jobs = [scene.held("talks.plain") for _ in range(3)]
    for held in jobs:
        scene.writer.open(held.job).say("info", "x")
    await scene.writer.flush()
    assert [len(await scene.lines(held)) for held in jobs] == [0, 1, 1]


SOURCE = """
import sys
class Speaks(Good):
    job_type = "speaks"
    def execute(self, context, payload):
        print("hello", payload.n)
        print("careful", file=sys.stderr)
        context.log.info("counted", n=payload.n)
        return None
"""


async def test_a_real_child_keeps_what_its_jobs_print(
    stage: Stage, worker_config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(tmp_path, SOURCE, {"speaks": "Speaks"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    incarnation = new_incarnation()
    await stage.incarnations.register(
        incarnation, service="s", host="h", pool="default", types=("speaks",), slots=2, version="0", lease_seconds=60
    )
    child = ChildProcess.spawn(incarnation, ChildPlan("default", ("speaks",), 2), grace_seconds=2)
    try:
        jobs = await stage.submit(2, type="speaks", payload='{"n": 5}')
        for job in jobs:
            await eventually(lambda job=job: stage.in_state(job, "completed"), within=30)

            async def stored(job: Any = job) -> bool:
                found = await JobLogs(stage.database).read(job.id, after=0, limit=10)
                return [(line.level, line.text) for line in found] == [
                    ("stdout", "hello 5"),
                    ("stderr", "careful"),
                    ("info", "counted n=5"),
                ]

            await eventually(stored)
    finally:
        child.ask_to_end()
        await eventually(child.ended.done, within=15)
        child.board.close()
