"""Runs one job: the actor behind every message. Claimed job in, settlement out."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from dramatiq.asyncio import EventLoopThread
from dramatiq.threading import Interrupt

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import JobExecutor
from headrace.runtime.process.failpoints import fp
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import Settlement
from headrace.worker import spans
from headrace.worker.announce import ChildAnnouncer
from headrace.worker.attempt_log import CURRENT
from headrace.worker.board import Board
from headrace.worker.breakers import Dependencies
from headrace.worker.budget import RunTimes
from headrace.worker.context import RunningContext
from headrace.worker.endings import Endings
from headrace.worker.held import Held, Stop
from headrace.worker.interrupt import AskedToStop, SoftLimit, finish
from headrace.worker.job_logs import JobLogWriter
from headrace.worker.payloads import payload_of
from headrace.worker.running import RunningJobs

log = structlog.get_logger(__name__)


class Runner:
    """Runs jobs on the calling thread (plain executors) or on the event loop (coroutines)."""

    def __init__(
        self,
        *,
        executors: Mapping[str, JobExecutor[Any]],
        config: JobConfig,
        incarnation: str,
        state: JobStateManager,
        board: Board,
        thread: EventLoopThread,
        scratch_root: Path,
        announcer: ChildAnnouncer | None = None,
        logs: JobLogWriter | None = None,
        dependencies: Dependencies | None = None,
    ) -> None:
        self._executors = executors
        self._config = config
        self._incarnation = incarnation
        self._state = state
        self._board = board
        self._thread = thread
        self._scratch_root = scratch_root
        self._logs = logs
        self._dependencies = dependencies
        self._endings = Endings(
            executors=executors,
            limit_bytes=config.payload_limit_bytes,
            loop=thread.loop,
            dependencies=dependencies,
        )
        self._slot_numbers = itertools.count()
        self._local = threading.local()
        self.running = RunningJobs(board=board, announcer=announcer)
        self.run_times = RunTimes()

    def run(self, held: Held) -> None:
        """Run a job to its end and leave the settlement on it. Never raises.

        A settlement of None means: write nothing, the attempt no longer counts.
        """
        slot = self._slot()
        executor = self._executors[held.job.type]
        self._board.start(slot, held.job.id, held.job.attempt, held.job.timeout_seconds)
        began = time.perf_counter()
        context: RunningContext | None = None
        lines = self._logs.open(held.job) if self._logs is not None else None
        held.span = spans.begin(held.job)
        try:
            CURRENT.set(lines)
            try:
                fp("worker.job_started")
                context = RunningContext(
                    held,
                    state=self._state,
                    owner=self._incarnation,
                    loop=self._thread.loop,
                    limit_bytes=self._config.payload_limit_bytes,
                    scratch_root=self._scratch_root,
                    lines=lines,
                    dependencies=self._dependencies,
                )
                payload = payload_of(executor, held.job)
                if executor.is_async():
                    held.settlement = self._thread.run_coroutine(self._run_async(held, executor, context, payload))
                else:
                    held.settlement = self._run_plain(held, executor, context, payload)
            except BaseException as error:  # noqa: BLE001 -- whatever a job does, it ends in a settlement
                held.settlement = self._endings.of_error(held, error)
            finish(held)
        except Interrupt as late:  # it hit between the job's end and `finish`
            finish(held)
            if held.settlement is None:
                held.settlement = self._endings.of_error(held, late)
        finally:
            CURRENT.set(None)
            self.running.end(held)
            if lines is not None and self._logs is not None:
                self._logs.close(lines, counts=held.stop is not Stop.LOST)
            if context is not None:
                context.close()
            self._board.end(slot)
        spans.end(held)
        seconds = time.perf_counter() - began
        self.run_times.add(seconds)
        self._log_end(held, seconds)

    async def _run_async(
        self, held: Held, executor: JobExecutor[Any], context: RunningContext, payload: Any
    ) -> Settlement | None:
        task = asyncio.current_task()
        assert task is not None
        loop = self._thread.loop

        def interrupt(_: Stop) -> None:
            loop.call_soon_threadsafe(task.cancel)

        if not held.begin(interrupt):
            return self._endings.of_stop(held)
        self.running.begin(held, context)
        try:
            async with asyncio.timeout(held.job.timeout_seconds) as limit:
                with spans.within(held):
                    result = await executor.execute(context, payload)  # type: ignore[misc]  # checked: it is a coroutine
        except TimeoutError as error:
            return self._endings.of_limit(held) if limit.expired() else self._endings.of_error(held, error)
        except asyncio.CancelledError:
            if held.stop is None:
                raise
            task.uncancel()
            return self._endings.of_stop(held)
        except Exception as error:  # noqa: BLE001 -- the job's own error
            return self._endings.of_error(held, error)
        return self._endings.of_result(held, result, progress=context.progress)

    def _run_plain(
        self, held: Held, executor: JobExecutor[Any], context: RunningContext, payload: Any
    ) -> Settlement | None:
        if not held.begin(lambda _: None):
            return self._endings.of_stop(held)
        self.running.begin(held, context, thread_id=threading.get_ident())
        try:
            with spans.within(held):
                result = executor.execute(context, payload)
        except AskedToStop:
            return self._endings.of_stop(held)
        except SoftLimit:
            return self._endings.of_limit(held)
        return self._endings.of_result(held, result, progress=context.progress)

    def _slot(self) -> int:
        slot: int | None = getattr(self._local, "slot", None)
        if slot is None:
            slot = self._local.slot = next(self._slot_numbers)
        return slot

    def _log_end(self, held: Held, seconds: float) -> None:
        settlement = held.settlement
        fields: dict[str, Any] = {
            "job_id": held.job.id,
            "type": held.job.type,
            "attempt": held.job.attempt,
            "outcome": settlement.reason.value if settlement else "lost",
            "seconds": round(seconds, 4),
        }
        if settlement is not None and settlement.error is not None:
            fields["error"] = settlement.error.type
            log.warning("job.ended", **fields)
        else:
            log.debug("job.ended", **fields)
