"""One job at a time: whatever an executor does, it ends in a settlement, and never in somebody else's."""

from __future__ import annotations

import asyncio
import logging
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from dramatiq.asyncio import EventLoopThread
from pydantic import BaseModel, JsonValue, field_validator

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import JobCancelled, LeaseLost, PermanentError
from headrace.contracts.executor import ExecutionPolicy, JobExecutor
from headrace.contracts.states import JobState, Reason
from headrace.testing.builders import make_job
from headrace.worker import running
from headrace.worker.board import Board
from headrace.worker.held import Held, Phase, Stop
from headrace.worker.interrupt import AskedToStop, SoftLimit, interrupt_thread
from headrace.worker.runner import Runner
from headrace.worker.thread_clocks import ThreadClocks

Body = Callable[[Any], Any]


class Payload(BaseModel):
    n: int = 0

    @field_validator("n")
    @classmethod
    def _not_thirteen(cls, value: int) -> int:
        if value == 13:
            raise RuntimeError("a validator that breaks")
        return value


class Plain(JobExecutor[Payload]):
    job_type = "plain"
    payload_model = Payload
    policy = ExecutionPolicy()
    body: Body = staticmethod(lambda context: None)

    def execute(self, context: Any, payload: Payload) -> JsonValue:
        result: JsonValue = self.body(context)
        return result


class Coroutine(Plain):
    job_type = "coroutine"

    async def execute(self, context: Any, payload: Payload) -> JsonValue:  # type: ignore[override]
        result: JsonValue = await self.body(context)
        return result


class Rig:
    """A runner with one plain and one coroutine executor, whose bodies a test sets. It never writes to a store."""

    def __init__(self, scratch: Path) -> None:
        self.board = Board.create(4)
        self.scratch = scratch
        self.loop_thread = EventLoopThread(logging.getLogger("test"), interrupt_check_ival=0.05)
        self.loop_thread.start(timeout=5)
        self.plain, self.coroutine = Plain(), Coroutine()
        self.runner = Runner(
            executors={"plain": self.plain, "coroutine": self.coroutine},
            config=JobConfig(payload_limit_bytes=1024),
            incarnation="w-1",
            state=None,  # type: ignore[arg-type]  # nothing is saved here
            board=self.board,
            thread=self.loop_thread,
            scratch_root=scratch,
        )

    def run(self, body: Body, *, kind: str = "plain", held: Held | None = None, **fields: Any) -> Held:
        """Run one job to its end on this thread."""
        (self.plain if kind == "plain" else self.coroutine).body = body
        held = held or make_held(kind, **fields)
        self.runner.run(held)
        assert held.phase is Phase.ENDED
        assert self.board.running() == []
        assert list(self.scratch.iterdir()) == []
        return held

    def enforce(self) -> None:
        """One pass over the limits."""
        asyncio.run_coroutine_threadsafe(self.runner.running.enforce_limits(), self.loop_thread.loop).result()

    def close(self) -> None:
        self.loop_thread.stop()  # type: ignore[no-untyped-call]
        self.board.close()


def make_held(kind: str, **fields: Any) -> Held:
    values: dict[str, Any] = {"type": kind, "state": JobState.PROCESSING, "attempt": 1, "owner": "w-1"}
    return Held(make_job(**values | fields), "t1")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def untraced() -> Iterator[None]:
    """Keeps coverage out of a test that raises exceptions into its own thread.

    A tracer that is hit in the middle of its bookkeeping keeps its lock, and every traced thread stands still.
    """
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(trace)


def as_coroutine(body: Body) -> Body:
    async def run(context: Any) -> Any:
        await asyncio.sleep(0)
        return body(context)

    return run


def raising(error: BaseException) -> Body:
    def body(_: Any) -> Any:
        raise error

    return body


def ending(held: Held) -> tuple[str, str] | None:
    return None if held.settlement is None else (held.settlement.to.value, held.settlement.reason.value)


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (lambda _: {"x": 1}, ("completed", "completed")),
        (lambda _: None, ("completed", "completed")),
        (raising(RuntimeError("x")), ("queued", "retry")),
        (raising(PermanentError("x")), ("failed", "failed")),
        (raising(TimeoutError("the job's own")), ("queued", "retry")),
        (raising(CancelledError()), ("queued", "retry")),
        (raising(JobCancelled("nobody asked")), ("queued", "retry")),
        (raising(LeaseLost("nobody took it")), ("queued", "retry")),
        (lambda _: float("nan"), ("failed", "failed")),
        (lambda _: "x" * 2000, ("failed", "failed")),
        (lambda _: object(), ("failed", "failed")),
    ],
)
def test_a_job_ends_in_the_settlement_of_what_it_did(
    rig: Rig, kind: str, body: Body, expected: tuple[str, str] | None
) -> None:
    held = rig.run(body if kind == "plain" else as_coroutine(body), kind=kind)
    assert ending(held) == expected
    if held.settlement is not None:
        assert held.settlement.started_ms_ago is not None


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_a_plain_function_that_wants_to_end_the_process_ends_its_job(rig: Rig, error: BaseException) -> None:
    assert ending(rig.run(raising(error))) == ("queued", "retry")


def test_a_coroutine_that_cancels_itself_has_failed_and_the_loop_goes_on(rig: Rig) -> None:
    async def body(_: Any) -> None:
        raise asyncio.CancelledError

    assert ending(rig.run(body, kind="coroutine")) == ("queued", "retry")
    assert ending(rig.run(as_coroutine(lambda _: 1), kind="coroutine")) == ("completed", "completed")


@pytest.mark.parametrize(
    ("payload", "expected", "text"),
    [
        ('{"n": 3}', ("completed", "completed"), ""),
        ('{"n": "many"}', ("failed", "failed"), "n: Input should be a valid integer"),
        ("not json", ("failed", "failed"), "Invalid JSON"),
        ('{"n": 13}', ("queued", "retry"), "a validator that breaks"),
    ],
)
def test_a_payload_that_does_not_fit_fails_the_job_for_good(
    rig: Rig, payload: str, expected: tuple[str, str], text: str
) -> None:
    held = rig.run(lambda _: None, payload=payload)
    assert ending(held) == expected
    if text:
        assert held.settlement is not None
        assert held.settlement.error is not None
        assert text in held.settlement.error.message
        assert "many" not in held.settlement.error.message, "payloads are not repeated"


def test_while_it_runs_the_board_names_the_job_and_afterwards_it_does_not(rig: Rig) -> None:
    seen: list[Any] = []
    held = rig.run(lambda _: seen.extend(rig.board.running()), timeout_seconds=33.0)
    assert [(job.job_id, job.attempt, job.limit_seconds) for job in seen] == [(held.job.id, 1, 33.0)]


def test_the_scratch_folder_is_the_attempts_own_and_goes_with_it(rig: Rig) -> None:
    folders: list[Path] = []

    def body(context: Any) -> None:
        folder = context.scratch_dir
        assert folder == context.scratch_dir
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
        folders.append(folder)

    rig.run(body)
    rig.run(body)
    assert folders[0] != folders[1]
    assert not any(folder.exists() for folder in folders)


def test_a_job_that_was_told_to_stop_before_it_began_never_begins(rig: Rig) -> None:
    for kind in ("plain", "coroutine"):
        for stop, expected in (
            (Stop.CANCEL, ("cancelled", "cancelled")),
            (Stop.RELEASE, ("queued", "released")),
            (Stop.LOST, None),
        ):
            held = make_held(kind)
            held.ask_to_stop(stop)
            rig.run(lambda _: pytest.fail("it began"), kind=kind, held=held)
            assert ending(held) == expected
            if held.settlement is not None:
                assert held.settlement.started_ms_ago is None


STOPS = [(Stop.CANCEL, ("cancelled", "cancelled")), (Stop.RELEASE, ("queued", "released")), (Stop.LOST, None)]


@pytest.mark.parametrize(("stop", "expected"), STOPS)
def test_a_running_coroutine_is_stopped_where_it_waits(rig: Rig, stop: Stop, expected: tuple[str, str] | None) -> None:
    held = make_held("coroutine")

    async def body(_: Any) -> None:
        asyncio.get_running_loop().call_later(0.01, held.ask_to_stop, stop)
        await asyncio.sleep(60)

    assert ending(rig.run(body, kind="coroutine", held=held)) == expected


@pytest.mark.parametrize(("stop", "expected"), STOPS)
def test_a_coroutine_that_turns_the_stop_into_an_error_of_its_own_is_stopped_all_the_same(
    rig: Rig, stop: Stop, expected: tuple[str, str] | None
) -> None:
    held = make_held("coroutine")

    async def body(_: Any) -> None:
        asyncio.get_running_loop().call_later(0.01, held.ask_to_stop, stop)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise RuntimeError("interrupted") from None

    assert ending(rig.run(body, kind="coroutine", held=held)) == expected


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_job_that_finishes_in_spite_of_a_cancel_hands_in_its_result_and_the_store_decides(
    rig: Rig, kind: str
) -> None:
    held = make_held(kind)

    def body(_: Any) -> int:
        held.ask_to_stop(Stop.CANCEL)
        return 7

    rig.run(body if kind == "plain" else as_coroutine(body), kind=kind, held=held)
    assert ending(held) in {("completed", "completed"), ("cancelled", "cancelled")}


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_job_that_finishes_after_it_was_lost_writes_nothing(rig: Rig, kind: str) -> None:
    held = make_held(kind)

    def body(_: Any) -> int:
        held.ask_to_stop(Stop.LOST)
        return 7

    rig.run(body if kind == "plain" else as_coroutine(body), kind=kind, held=held)
    assert held.settlement is None


def test_a_coroutine_over_its_limit_times_out(rig: Rig) -> None:
    held = rig.run(lambda _: asyncio.sleep(60), kind="coroutine", timeout_seconds=0.05)
    assert ending(held) == ("queued", "timeout")
    assert held.settlement is not None
    assert held.settlement.error is not None
    assert held.settlement.error.message == "ran longer than 0.05 s"


def enforced(rig: Rig, every: float = 0.02) -> Callable[[], None]:
    """Enforce limits from a second thread until called."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(every):
            rig.enforce()

    thread = threading.Thread(target=work)
    thread.start()

    def end() -> None:
        stop.set()
        thread.join()

    return end


def spin(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


@pytest.mark.usefixtures("untraced")
def test_a_plain_function_over_its_limit_times_out(rig: Rig) -> None:
    end = enforced(rig)
    held = rig.run(lambda _: spin(30), timeout_seconds=0.1)
    end()
    assert ending(held) == ("queued", "timeout")


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize(("stop", "expected"), STOPS)
def test_a_plain_function_that_does_not_look_is_interrupted_a_while_after_it_was_asked_to_stop(
    rig: Rig, stop: Stop, expected: tuple[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "COOPERATE_SECONDS", 0.1)
    held = make_held("plain")

    def body(_: Any) -> None:
        held.ask_to_stop(stop)
        spin(30)

    end = enforced(rig)
    began = time.monotonic()
    rig.run(body, held=held)
    end()
    assert ending(held) == expected
    assert time.monotonic() - began >= 0.1, "it had time to stop by itself"


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("stop", [None, Stop.CANCEL, Stop.RELEASE])
def test_a_thread_that_stands_in_a_call_is_left_alone_until_the_call_returns(rig: Rig, stop: Stop | None) -> None:
    """An exception that waits for it would slow every other thread down, and stop them all under a tracer."""
    held = make_held("plain", timeout_seconds=0.05 if stop is None else 60)
    seen: list[bool] = []

    def body(_: Any) -> None:
        if stop is not None:
            held.ask_to_stop(stop)
        time.sleep(1.5)
        seen.append(held.interrupted)
        spin(30)

    end = enforced(rig, every=0.1)
    rig.run(body, held=held)
    end()
    assert seen == [False]
    assert ending(held) == {None: ("queued", "timeout"), **dict(STOPS)}[stop]


def test_a_thread_that_sleeps_in_slices_is_seen_to_move() -> None:
    end = threading.Event()

    def slices() -> None:
        while not end.is_set():
            time.sleep(0.01)

    thread, still = threading.Thread(target=slices), threading.Thread(target=end.wait)
    thread.start()
    still.start()
    clocks, both = ThreadClocks(), [thread.ident or 0, still.ident or 0]
    time.sleep(0.1)
    assert clocks.moving(both) == set(), "nothing is known at the first look"
    time.sleep(0.2)
    assert clocks.moving(both) == {thread.ident}
    end.set()
    thread.join()
    still.join()


def test_limits_leave_a_job_alone_that_keeps_them(rig: Rig) -> None:
    end = enforced(rig, every=0.001)
    held = rig.run(lambda _: spin(0.1), timeout_seconds=60)
    end()
    assert ending(held) == ("completed", "completed")


class BoomerangError(Exception):
    """Interrupts its own thread while it is being recorded: the worst moment for a limit to fire."""

    def __init__(self, held: Held, kind: type[SoftLimit | AskedToStop]) -> None:
        self.held, self.kind = held, kind

    def __str__(self) -> str:
        assert interrupt_thread(self.held, threading.get_ident(), self.kind)
        spin(0.001)
        return "never reached"


@pytest.mark.usefixtures("untraced")
def test_a_limit_that_fires_while_the_ending_is_recorded_still_leaves_a_settlement(rig: Rig) -> None:
    held = make_held("plain")
    rig.run(raising(BoomerangError(held, SoftLimit)), held=held)
    assert ending(held) == ("queued", "timeout")
    stopped = make_held("plain")

    def body(_: Any) -> None:
        stopped.ask_to_stop(Stop.RELEASE)
        raise BoomerangError(stopped, AskedToStop)

    rig.run(body, held=stopped)
    assert ending(stopped) == ("queued", "released")


@pytest.mark.usefixtures("untraced")
def test_interrupts_at_any_moment_hit_their_own_job_or_nothing(rig: Rig) -> None:
    """Thousands of jobs, each with a limit that fires at a seeded moment around its end."""
    rounds = 3000
    dice = random.Random(5)
    current: list[Held] = []
    finished = threading.Event()
    moments = [dice.randrange(400) for _ in range(rounds)]
    lengths = [dice.randrange(400) for _ in range(rounds)]
    runner_thread = threading.get_ident()
    hit: set[int] = set()

    def interrupt() -> None:
        number = 0
        while not finished.is_set():
            if len(current) <= number:
                continue
            number = len(current)
            held = current[-1]
            for _ in range(moments[number - 1]):
                pass
            if interrupt_thread(held, runner_thread, SoftLimit):
                hit.add(number - 1)

    def body(_: Any) -> int:
        for _ in range(lengths[len(current) - 1]):
            pass
        return len(current)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        for _ in range(rounds):
            held = make_held("plain")
            current.append(held)
            rig.run(body, held=held)
    finally:
        finished.set()
        thread.join()
        sys.setswitchinterval(interval)
    endings = [ending(held) for held in current]
    assert set(endings) <= {("completed", "completed"), ("queued", "timeout")}
    timed_out = {number for number, found in enumerate(endings) if found == ("queued", "timeout")}
    assert timed_out, "the rounds did meet interrupts"
    assert timed_out <= hit, "nobody pays for a neighbour's limit"


TRACED = """
import sys, threading
from headrace.testing.builders import make_job
from headrace.worker.held import Held
from headrace.worker.interrupt import SoftLimit, finish, interrupt_thread
sys.settrace(lambda *_: None)
for late in (False, True):
    held = Held(make_job(), "t")
    assert held.begin(lambda _: None)
    if late:
        sys.settrace(None)
        try:
            interrupt_thread(held, threading.get_ident(), SoftLimit)
            for _ in range(1000): pass
        except SoftLimit:
            pass
        sys.settrace(lambda *_: None)
    finish(held)
    def call(): return 1
    assert sum(call() for _ in range(100)) == 100
"""


def test_ending_a_job_leaves_nothing_behind_that_every_call_would_look_for() -> None:
    """With a tracer set, CPython 3.11 would look for ever."""
    subprocess.run([sys.executable, "-c", TRACED], check=True, timeout=30)


def test_run_times_are_measured_for_the_claim_budget(rig: Rig) -> None:
    for _ in range(60):
        rig.run(lambda _: None)
    p95 = rig.runner.run_times.p95()
    assert p95 is not None
    assert 0 < p95 < 1


@pytest.mark.parametrize("reason", [Reason.RETRY, Reason.TIMEOUT])
def test_a_failing_job_runs_again_with_the_policy_of_its_type(rig: Rig, reason: Reason) -> None:
    body: Body = raising(RuntimeError("x")) if reason is Reason.RETRY else (lambda _: asyncio.sleep(9))
    kind = "plain" if reason is Reason.RETRY else "coroutine"
    held = rig.run(body, kind=kind, timeout_seconds=0.02)
    assert ending(held) == ("queued", reason.value)
    assert held.settlement is not None
    assert held.settlement.delay_ms is not None
    assert held.settlement.delay_ms <= 1000
