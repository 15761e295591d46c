"""A child as its supervisor sees it: a process, its board, and how it ended."""

from __future__ import annotations

import asyncio
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
from headrace.worker.board import Board, Started
from headrace.worker.child import SPEC_VARIABLE
from headrace.worker.pools import ChildPlan


@dataclass(frozen=True)
class Ending:
    """How a child ended and what it had started."""

    record: ExitRecord
    running: tuple[Started, ...]


class ChildProcess:
    """One running child. Made by `spawn`; `ended` resolves once, when the process is gone."""

    def __init__(self, incarnation: str, plan: ChildPlan, board: Board, process: subprocess.Popen[bytes]) -> None:
        self.incarnation = incarnation
        self.plan = plan
        self.board = board
        self.pid = process.pid
        self.began = time.monotonic()
        self.culprit: str | None = None
        """The job this child was killed for."""
        self.killed = False
        self._process = process
        self._stats = psutil.Process(process.pid)
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ending] = loop.create_future()
        # One waiting thread per child: the exit is known at once, with its resource usage.
        threading.Thread(target=self._wait, args=(loop,), daemon=True, name=f"wait-{incarnation}").start()

    @staticmethod
    def spawn(incarnation: str, plan: ChildPlan, *, grace_seconds: float) -> ChildProcess:
        """Start a child process. Its lease must have been written before."""
        board = Board.create(plan.slots)
        spec = {
            "incarnation": incarnation,
            "pool": plan.pool,
            "types": list(plan.types),
            "slots": plan.slots,
            "board_descriptor": board.descriptor,
            "grace_seconds": grace_seconds,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace.worker.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, SPEC_VARIABLE: json.dumps(spec)},
            pass_fds=(board.descriptor,),
        )
        return ChildProcess(incarnation, plan, board, process)

    def ask_to_end(self) -> None:
        """SIGTERM: drain."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.killed = True
        self._signal(signal.SIGKILL)

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
            slots=self.plan.slots,
            busy=len(running),
            rss_bytes=rss,
            cpu_seconds=round(cpu, 3),
            running=tuple(
                RunningJob(id=job.job_id, attempt=job.attempt, seconds=round(now - job.since, 3)) for job in running
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
        try:
            loop.call_soon_threadsafe(self._tell, ending)
        except RuntimeError:  # the loop is closed: the service ends, and nobody asks any more
            return

    def _tell(self, ending: Ending) -> None:
        if not self.ended.done():  # whoever waited for it may have been cancelled, and the future with it
            self.ended.set_result(ending)

    def _record(self, code: int, peak_rss_bytes: int) -> ExitRecord:
        if code == 0:
            return ExitRecord(kind="graceful", code=0, peak_rss_bytes=peak_rss_bytes)
        if code < 0:
            kind = "killed" if self.killed else "signal"
            return ExitRecord(kind=kind, signal=-code, peak_rss_bytes=peak_rss_bytes)
        return ExitRecord(kind="code", code=code, peak_rss_bytes=peak_rss_bytes)
