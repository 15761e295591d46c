"""A child as its supervisor sees it: a process, its board, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import psutil

from headrace.contracts.heartbeat import ChildBeat, ExitRecord, RunningJob
from headrace.worker.board import Board, Started, slots_of
from headrace.worker.child import SPEC_VARIABLE
from headrace.worker.pools import ChildPlan
from headrace.worker.scratch import ScratchFolder


@dataclass(frozen=True)
class Ending:
    """How a child ended and what it had started."""

    record: ExitRecord
    running: tuple[Started, ...]


class ChildProcess:
    """One running child. Made by `spawn`; `ended` resolves once, when the process is gone."""

    def __init__(
        self,
        incarnation: str,
        plan: ChildPlan,
        board: Board,
        scratch: ScratchFolder,
        process: subprocess.Popen[bytes],
    ) -> None:
        self.incarnation = incarnation
        self.plan = plan
        self.board = board
        self.scratch = scratch
        self.pid = process.pid
        self.began = time.monotonic()
        self.culprit: str | None = None
        """The job this child was killed for."""
        self.killed: str | None = None
        """Why it was killed, as its exit record says it: `killed` or `memory`."""
        self.worn: str | None = None
        """Why it is to be replaced: `jobs` (it ran as many as it may) or `memory`."""
        self.silent = False
        """Whether its loops were seen standing still."""
        self.asked = False
        """Whether it was told to drain."""
        self.idle_since: float | None = None
        """When it was first seen with nothing to do and no slots."""
        self._orders = [board.order]
        """Those that it may be following: the last one that it said it follows, and all since."""
        self._process = process
        self._stats = psutil.Process(process.pid)
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ending] = loop.create_future()
        # One waiting thread per child: the exit is known at once, with its resource usage.
        threading.Thread(target=self._wait, args=(loop,), daemon=True, name=f"wait-{incarnation}").start()

    @staticmethod
    def spawn(incarnation: str, plan: ChildPlan, *, grace_seconds: float, allowed: int | None = None) -> ChildProcess:
        """Start a child process. Its lease must have been written before.

        Args:
            incarnation: Its registered id.
            plan: What it runs.
            grace_seconds: How long its jobs may take when it is told to end.
            allowed: How many jobs it may run at once for now; all its slots by default.

        Raises:
            OSError: There is no room for its files or for one more process; nothing is left of it.
        """
        with contextlib.ExitStack() as undo:
            scratch = ScratchFolder(incarnation)
            undo.callback(scratch.remove)
            board = Board.create(plan.slots)
            undo.callback(board.close)
            board.hold(0, False)
            board.allow(plan.slots if allowed is None else allowed)
            spec = {
                "incarnation": incarnation,
                "pool": plan.pool,
                "types": list(plan.types),
                "slots": plan.slots,
                "board_descriptor": board.descriptor,
                "grace_seconds": grace_seconds,
                "scratch": str(scratch.path),
                "max_jobs": plan.max_jobs,
                "cpu_seconds": plan.cpu_seconds,
            }
            process = subprocess.Popen(
                [sys.executable, "-m", "headrace.worker.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env={**os.environ, SPEC_VARIABLE: json.dumps(spec)},
                pass_fds=(board.descriptor, scratch.descriptor),
            )
            undo.pop_all()
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)  # a stopped child must not stop its supervisor
        return ChildProcess(incarnation, plan, board, scratch, process)

    @property
    def held(self) -> int:
        """Slots of the service that it uses or may use: what it was allowed, or still more until jobs have ended.

        Orders that it has not followed may be followed at any moment, so the largest of them counts.
        """
        if self.ended.done():
            return 0
        followed = self.board.followed
        if followed in self._orders:
            del self._orders[: self._orders.index(followed)]
        return max(self.board.held, *map(slots_of, self._orders))

    def allow(self, slots: int) -> None:
        """Let it run so many jobs at once. Running jobs run on: `held` follows when they have ended."""
        if self.ended.done() or slots == self.board.allowed:
            return
        self._orders.append(self.board.allow(slots))
        if self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it looks anyway, twice a second; or it is gone
                os.write(self._process.stdin.fileno(), b".")

    def ask_to_end(self) -> None:
        """SIGTERM: drain."""
        self.asked = True
        self._signal(signal.SIGTERM)

    def kill(self, why: str = "killed") -> None:
        """SIGKILL."""
        self.killed = self.killed or why
        self._signal(signal.SIGKILL)

    def rss_bytes(self) -> int:
        """Resident memory now; 0 when it is gone."""
        try:
            return int(self._stats.memory_info().rss)
        except psutil.Error:
            return 0

    def beat(self) -> ChildBeat:
        """What the heartbeat says about this child."""
        running = self.board.running()
        now = time.monotonic()
        try:
            with self._stats.oneshot():
                rss = self._stats.memory_info().rss
                times = self._stats.cpu_times()
                cpu = times.user + times.system
        except psutil.Error:
            rss, cpu = 0, 0.0
        return ChildBeat(
            incarnation=self.incarnation,
            pid=self.pid,
            pool=self.plan.pool,
            slots=self.board.allowed,
            busy=len(running),
            rss_bytes=rss,
            cpu_seconds=round(cpu, 3),
            running=tuple(
                RunningJob(id=job.job_id, attempt=job.attempt, seconds=round(now - job.since, 3), progress=job.progress)
                for job in running
            ),
        )

    def _signal(self, number: signal.Signals) -> None:
        if not self.ended.done():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        _, status, usage = os.wait4(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        ending = Ending(self._record(self._process.returncode, usage.ru_maxrss * 1024), tuple(self.board.running()))
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the service ends, and nobody asks any more
            loop.call_soon_threadsafe(self._tell, ending)
        self.scratch.remove()

    def _tell(self, ending: Ending) -> None:
        if not self.ended.done():  # whoever waited for it may have been cancelled, and the future with it
            self.ended.set_result(ending)

    def _record(self, code: int, peak_rss_bytes: int) -> ExitRecord:
        if code == 0:
            return ExitRecord(kind="graceful", code=0, peak_rss_bytes=peak_rss_bytes)
        if code < 0:
            return ExitRecord(kind=self.killed or "signal", signal=-code, peak_rss_bytes=peak_rss_bytes)
        return ExitRecord(kind="code", code=code, peak_rss_bytes=peak_rss_bytes)
