"""The executors that break things on purpose do exactly that."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue, ValidationError

from headrace.contracts.errors import JobCancelled
from headrace.contracts.executor import JobExecutor, PermanentError, Retry
from headrace.testing import executors
from headrace.testing.executors import (
    Block,
    BlockPayload,
    Die,
    DiePayload,
    Fail,
    FailPayload,
    Sleep,
    SleepPayload,
    Steps,
    StepsPayload,
    read_effects,
)


class Context:
    """A job's context that only remembers."""

    def __init__(self, *, attempt: int = 1, checkpoint: JsonValue = None) -> None:
        self.job_id, self.attempt, self.checkpoint = "job-1", attempt, checkpoint
        self.saved: list[JsonValue] = []
        self.progress: list[tuple[float, str]] = []
        self.cancelled = False
        self.sync = self

    async def save_checkpoint(self, value: JsonValue) -> None:
        self.saved.append(value)

    def report_progress(self, fraction: float, message: str = "") -> Any:
        if self.cancelled:
            raise JobCancelled
        self.progress.append((fraction, message))
        return asyncio.sleep(0)


async def test_sleep_sleeps_notes_what_it_does_and_returns_what_it_was_given(tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    began = time.monotonic()
    payload = SleepPayload(seconds=0.05, result={"a": 1}, effects=effects)
    assert await Sleep().execute(Context(), payload) == {"a": 1}  # type: ignore[arg-type]
    assert time.monotonic() - began >= 0.05
    assert read_effects(effects) == [("job-1", 1, os.getpid(), "start"), ("job-1", 1, os.getpid(), "end")]


def test_without_a_file_nothing_is_noted(tmp_path: Path) -> None:
    SleepPayload().note(Context(), "start")  # type: ignore[arg-type]
    assert read_effects(tmp_path / "none") == []


def test_notes_of_many_threads_are_whole_lines(tmp_path: Path) -> None:
    payload = SleepPayload(effects=tmp_path / "effects")

    def work(number: int) -> None:
        for _ in range(50):
            payload.note(Context(attempt=number), "x" * 200)  # type: ignore[arg-type]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_effects(tmp_path / "effects")) == 300


@pytest.mark.parametrize(("how", "error"), [("error", RuntimeError), ("permanent", PermanentError), ("retry", Retry)])
def test_fail_fails_as_asked_until_the_attempt_it_was_told(how: str, error: type[Exception]) -> None:
    payload = FailPayload(until_attempt=2, how=how, message="so it is", delay_seconds=3)
    for attempt in (1, 2):
        with pytest.raises(error, match="so it is") as caught:
            Fail().execute(Context(attempt=attempt), payload)  # type: ignore[arg-type]
        assert getattr(caught.value, "delay_seconds", 3) == 3
    assert Fail().execute(Context(attempt=3), payload) == 3  # type: ignore[arg-type]


async def test_steps_go_on_from_the_checkpoint_and_save_each_one() -> None:
    context = Context(checkpoint=2)
    assert await Steps().execute(context, StepsPayload(steps=4, seconds=0)) == 4  # type: ignore[arg-type]
    assert context.saved == [3, 4]
    assert context.progress == [(0.75, "3 of 4 steps"), (1.0, "4 of 4 steps")]


async def test_die_spares_later_attempts() -> None:
    assert await Die().execute(Context(attempt=2), DiePayload(until_attempt=1)) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(("how", "number"), [("signal", signal.SIGKILL), ("segfault", signal.SIGSEGV)])
def test_die_ends_its_process_as_a_crash_would(how: str, number: signal.Signals) -> None:
    code = (
        "import asyncio, types\n"
        "from headrace.testing.executors import Die, DiePayload\n"
        "asyncio.run(Die().execute(types.SimpleNamespace(attempt=1, job_id='j'), DiePayload(how='%s')))"
    )
    assert subprocess.run([sys.executable, "-c", code % how], timeout=60).returncode == -number


async def test_die_by_memory_takes_it_and_waits_to_be_ended(tmp_path: Path) -> None:
    code = (
        "import asyncio, resource, types\n"
        "from headrace.testing.executors import Die, DiePayload\n"
        "payload = DiePayload(how='memory', megabytes=300, patience_seconds=0)\n"
        "asyncio.run(Die().execute(types.SimpleNamespace(attempt=1, job_id='j'), payload))\n"
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 300 * 1024"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_block_that_holds_the_lock_of_python_lets_no_other_thread_turn() -> None:
    turned: list[float] = []
    stop = threading.Event()

    def turn() -> None:
        while not stop.wait(0.005):
            turned.append(time.monotonic())

    thread = threading.Thread(target=turn)
    thread.start()
    began = time.monotonic()
    assert Block().execute(Context(), BlockPayload(seconds=0.3, hold_gil=True)) == "slept"  # type: ignore[arg-type]
    ended = time.monotonic()
    stop.set()
    thread.join()
    assert ended - began >= 0.3
    assert not [at for at in turned if began + 0.05 < at < ended - 0.05]


def test_a_block_that_receives_waits_for_a_peer_that_says_nothing() -> None:
    thread = threading.Thread(target=Block().execute, args=(Context(), BlockPayload(receives=True)), daemon=True)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()


def test_block_blocks_its_thread_in_one_piece_or_in_slices(tmp_path: Path) -> None:
    for slices in (True, False):
        began = time.monotonic()
        assert Block().execute(Context(), BlockPayload(seconds=0.05, slices=slices)) == "slept"  # type: ignore[arg-type]
        assert time.monotonic() - began >= 0.05


def test_a_cooperative_block_stops_when_it_is_cancelled() -> None:
    context = Context()
    threading.Timer(0.05, lambda: setattr(context, "cancelled", True)).start()
    with pytest.raises(JobCancelled):
        Block().execute(context, BlockPayload(seconds=30, cooperative=True))  # type: ignore[arg-type]


def test_every_executor_is_registered_under_its_own_name_for_tests_only() -> None:
    points = {point.name: point.load() for point in metadata.entry_points(group="headrace.testing.executors")}
    kinds = {
        kind
        for kind in vars(executors).values()
        if isinstance(kind, type) and issubclass(kind, JobExecutor) and kind is not JobExecutor
    }
    assert {name: kind.job_type for name, kind in points.items()} == {name: name for name in points}
    assert set(points.values()) == kinds
    assert {kind.policy.pool for kind in kinds} == {executors.TEST_POOL}


@pytest.mark.parametrize("model", [SleepPayload, FailPayload, StepsPayload, DiePayload, BlockPayload])
def test_payloads_refuse_what_they_do_not_know(model: Any) -> None:
    with pytest.raises(ValidationError):
        model(nonsense=1)
