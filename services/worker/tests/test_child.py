"""A child process for real: it claims, it drains, and its death is told with what it was doing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from worker_plugins import write_plugin
from worker_stage import Stage

from headrace.contracts.config import JobConfig
from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.runtime.process.ids import new_incarnation
from headrace.testing.eventually import eventually
from headrace.worker.child_process import ChildProcess, Ending
from headrace.worker.pools import ChildPlan

TYPES = ("test.sleep", "test.block", "test.fail")
READY = 20
"""Generous: other work may share the machine. Alone it takes about a second."""


class Nursery:
    """Starts children of the test pool and ends what is left of them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.children: list[ChildProcess] = []

    async def spawn(
        self, *, slots: int = 2, grace_seconds: float = 5.0, types: tuple[str, ...] = TYPES, ready: bool = True
    ) -> ChildProcess:
        incarnation = new_incarnation()
        await self.stage.incarnations.register(
            incarnation, service="s", host="h", pool="test", types=types, slots=slots, version="0", lease_seconds=60
        )
        child = ChildProcess.spawn(incarnation, ChildPlan("test", types, slots), grace_seconds=grace_seconds)
        self.children.append(child)
        if ready:
            await eventually(lambda: child.board.ready, within=READY)
        return child

    async def submit(self, type_: str, payload: str, **fields: Any) -> Job:
        (job,) = await self.stage.submit(type=type_, pool="test", payload=payload, **fields)
        return job

    async def running(self, child: ChildProcess, *jobs: Job) -> None:
        wanted = {job.id for job in jobs}
        await eventually(lambda: {item.job_id for item in child.board.running()} == wanted, what="jobs on the board")

    async def close(self) -> None:
        for child in self.children:
            child.kill()
            await asyncio.wait({child.ended}, timeout=10)
            child.board.close()


@pytest.fixture
async def nursery(stage: Stage, worker_config: JobConfig) -> AsyncIterator[Nursery]:
    nursery = Nursery(stage)
    yield nursery
    await nursery.close()


async def ended(child: ChildProcess, *, within: float = 15) -> Ending:
    await eventually(child.ended.done, within=within, what="the child's end")
    return child.ended.result()


async def test_a_child_runs_jobs_shows_them_and_sigterm_lets_it_finish(nursery: Nursery, stage: Stage) -> None:
    child = await nursery.spawn()
    failing = await nursery.submit("test.fail", "{}", max_retries=3)
    await eventually(lambda: stage.in_state(failing, "completed"))
    assert await stage.reasons(failing) == ["submitted", "claimed", "retry", "claimed", "completed"]
    slow = await nursery.submit("test.sleep", '{"seconds": 0.6, "result": {"a": 1}}')
    await nursery.running(child, slow)
    beat = child.beat()
    assert (beat.busy, beat.slots, beat.pid, [job.id for job in beat.running]) == (1, 2, child.pid, [slow.id])
    assert beat.rss_bytes > 10_000_000
    child.ask_to_end()
    ending = await ended(child)
    assert ending.record.kind == "graceful"
    assert (ending.record.peak_rss_bytes or 0) > 10_000_000
    assert ending.running == ()
    stored = await stage.job(slow)
    assert (stored.state, stored.result) == (JobState.COMPLETED, '{"a":1}')
    assert child.board.counters() == (2, 1, 0)
    document = await stage.incarnations.get(child.incarnation)
    assert document is not None
    assert document.exit is not None
    assert (document.exit.kind, document.running) == ("graceful", ())
    child.ask_to_end()  # nobody is there any more: no error
    assert child.beat().busy == 0


async def test_what_does_not_finish_within_the_grace_is_handed_back_without_cost(
    nursery: Nursery, stage: Stage
) -> None:
    """Also a call that no exception can end: its process ends around it."""
    child = await nursery.spawn(slots=3, grace_seconds=0.2)
    sleeping = await nursery.submit("test.sleep", '{"seconds": 60}')
    blocking = await nursery.submit("test.block", '{"seconds": 60, "slices": false}')
    polite = await nursery.submit("test.block", '{"seconds": 60, "cooperative": true}')
    await nursery.running(child, sleeping, blocking, polite)
    child.ask_to_end()
    ending = await ended(child)
    assert ending.record.kind == "graceful"
    for job in (sleeping, blocking, polite):
        stored = await stage.job(job)
        assert (stored.state, stored.failures, stored.crashes) == (JobState.QUEUED, 0, 0)
        assert await stage.reasons(job) == ["submitted", "claimed", "released"]
        (located,) = await stage.queue.locate("test", [job.id])
        assert located.place == "ready"


async def test_a_child_whose_supervisor_is_gone_drains(nursery: Nursery, stage: Stage) -> None:
    child = await nursery.spawn()
    job = await nursery.submit("test.sleep", '{"seconds": 0.4}')
    await nursery.running(child, job)
    os.kill(child.pid, signal.SIGINT)  # a Ctrl-C is the supervisor's to understand
    assert child._process.stdin is not None
    child._process.stdin.close()
    ending = await ended(child)
    assert ending.record.kind == "graceful"
    assert (await stage.job(job)).state is JobState.COMPLETED


async def test_a_killed_child_is_told_with_what_it_had_started(nursery: Nursery) -> None:
    child = await nursery.spawn()
    one = await nursery.submit("test.sleep", '{"seconds": 60}')
    other = await nursery.submit("test.block", '{"seconds": 60}')
    await nursery.running(child, one, other)
    os.kill(child.pid, signal.SIGKILL)
    ending = await ended(child)
    assert (ending.record.kind, ending.record.signal, ending.record.code) == ("signal", 9, None)
    assert {(job.job_id, job.attempt) for job in ending.running} == {(one.id, 1), (other.id, 1)}


async def test_a_child_killed_by_us_says_so(nursery: Nursery) -> None:
    child = await nursery.spawn(ready=False)
    child.kill()
    ending = await ended(child)
    assert (ending.record.kind, ending.record.signal, ending.running) == ("killed", 9, ())


async def test_nobody_waiting_for_a_child_any_more_is_no_error(nursery: Nursery) -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    child = await nursery.spawn(ready=False)
    child.ended.cancel()  # what cancelling the task that awaits it does
    os.kill(child.pid, signal.SIGKILL)
    await eventually(lambda: child._process.returncode is not None)
    await asyncio.sleep(0.05)
    assert complaints == []


async def test_a_plug_in_that_breaks_while_the_child_starts_ends_the_child_at_once(
    nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = "class Bad(Good):\n  job_type = 'bad'\n  def use(self, resources): raise RuntimeError('no resources')"
    write_plugin(tmp_path, source, {"bad": "Bad"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = await nursery.spawn(types=("bad",), ready=False)
    ending = await ended(child, within=READY)
    assert (ending.record.kind, ending.record.code) == ("code", 1)
    assert not child.board.ready
    assert "child.not_booted" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({}, "HEADRACE_CHILD"),
        ({"JOB_MAX_WORKRS": "3"}, "JOB_MAX_WORKRS is not a setting; did you mean JOB_MAX_WORKERS?"),
    ],
)
def test_a_child_started_by_hand_says_what_is_missing(
    worker_config: JobConfig, environment: dict[str, str], complaint: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headrace.worker.child"],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
