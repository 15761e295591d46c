"""Runs one job: the actor behind every message. Claimed job in, settlement out."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from dramatiq.asyncio import EventLoopThread
from dramatiq.threading import Interrupt

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import DependencyDown
from headrace.contracts.executor import JobExecutor
from headrace.runtime.process.failpoints import fp
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import Settlement
from headrace.worker import outcome, spans
from headrace.worker.announce import ChildAnnouncer
from headrace.worker.attempt_log import CURRENT
from headrace.worker.board import Board
from headrace.worker.breakers import Dependencies
from headrace.worker.budget import RunTimes
from headrace.worker.context import RunningContext
from headrace.worker.held import Held, Stop
from headrace.worker.interrupt import AskedToStop, SoftLimit, finish, interrupt_thread
from headrace.worker.job_logs import JobLogWriter
from headrace.worker.payloads import payload_of
from headrace.worker.stops import settlement_of_stop, timeout_of
from headrace.worker.thread_clocks import ThreadClocks

COOPERATE_SECONDS = 1.0
"""How long a plain function that was asked to stop may take before an exception is raised in its thread."""
RELEASE_SECONDS = 0.4
"""The same at shutdown, when it has had its grace and its process ends in a second."""

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
        self._announcer = announcer
        self._logs = logs
        self._dependencies = dependencies
        self._slot_numbers = itertools.count()
        self._local = threading.local()
        self._contexts: dict[Held, tuple[RunningContext, int | None]] = {}
        self._clocks = ThreadClocks()
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
                held.settlement = self._settle_error(held, error)
            finish(held)
        except Interrupt as late:  # it hit between the job's end and `finish`
            finish(held)
            if held.settlement is None:
                held.settlement = self._settle_error(held, late)
        finally:
            CURRENT.set(None)
            self._contexts.pop(held, None)
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
            return settlement_of_stop(held)
        self._contexts[held] = (context, None)
        if self._announcer is not None:
            self._announcer.started(held)
        try:
            async with asyncio.timeout(held.job.timeout_seconds) as limit:
                with spans.within(held):
                    result = await executor.execute(context, payload)  # type: ignore[misc]  # checked: it is a coroutine
        except TimeoutError as error:
            if limit.expired():
                return self._settle_error(held, timeout_of(held))
            return self._settle_error(held, error)
        except asyncio.CancelledError:
            if held.stop is None:
                raise
            task.uncancel()
            return settlement_of_stop(held)
        except Exception as error:  # noqa: BLE001 -- the job's own error
            return self._settle_error(held, error)
        return self._settle_result(held, result, context)

    def _run_plain(
        self, held: Held, executor: JobExecutor[Any], context: RunningContext, payload: Any
    ) -> Settlement | None:
        if not held.begin(lambda _: None):
            return settlement_of_stop(held)
        self._contexts[held] = (context, threading.get_ident())
        if self._announcer is not None:
            self._announcer.started(held)
        try:
            with spans.within(held):
                result = executor.execute(context, payload)
        except AskedToStop:
            return settlement_of_stop(held)
        except SoftLimit:
            return self._settle_error(held, timeout_of(held))
        return self._settle_result(held, result, context)

    def _settle_result(self, held: Held, result: Any, context: RunningContext) -> Settlement | None:
        if held.stop is Stop.LOST:
            return None
        text = outcome.encode_result(result, limit_bytes=self._config.payload_limit_bytes)
        return outcome.completed(held.job, text, started_ms_ago=held.started_ms_ago() or 0, progress=context.progress)

    def _settle_error(self, held: Held, error: BaseException) -> Settlement | None:
        if held.stop is not None:
            return settlement_of_stop(held)
        # A `LeaseLost` or `JobCancelled` that nobody asked for is an error like others: else a job that raises one
        # each time would be handed back without cost for ever. If the attempt is really lost, or a cancel was
        # accepted, the settlement finds that out.
        if isinstance(error, Interrupt):
            error = timeout_of(held) if isinstance(error, SoftLimit) else RuntimeError("interrupted")
        if isinstance(error, DependencyDown):
            return self._park(held, error)
        policy = self._executors[held.job.type].policy.retry
        return outcome.failed(
            held.job, error, policy=policy, jitter=random.random(), started_ms_ago=held.started_ms_ago()
        )

    def _park(self, held: Held, error: DependencyDown) -> Settlement:
        """Back without a failure, until the dependency is tried again."""
        seconds = 1.0
        if self._dependencies is not None:
            if not error.is_counted:
                failed = self._dependencies.failed(error.name, job_type=held.job.type, error=error)
                asyncio.run_coroutine_threadsafe(failed, self._thread.loop)
            seconds = self._dependencies.park_seconds(error.name, jitter=random.random())
        log.info("job.parked", job_id=held.job.id, dependency=error.name, seconds=round(seconds, 1))
        return outcome.released(held.job, started_ms_ago=held.started_ms_ago(), delay_ms=int(seconds * 1000))

    # -- beside the jobs ---------------------------------------------------------------------------------------

    async def flush_progress(self) -> None:
        """Save the progress of every running job that changed. A duty, about once a second."""
        running = [(held, context) for held, (context, _) in list(self._contexts.items())]
        if running:
            await asyncio.gather(*(self._flush(held, context) for held, context in running))

    async def _flush(self, held: Held, context: RunningContext) -> None:
        saved = await context.flush_progress()
        if saved is not None:
            self._board.progress(held.job.id, saved[0])
        if saved is not None and self._announcer is not None:
            self._announcer.progressed(held, saved)

    async def enforce_limits(self) -> None:
        """Raise in the threads of plain jobs that ran too long or did not stop when asked. A duty.

        Threads that stand in a call are left alone until it returns; the supervisor has the hard limit for them.
        """
        now = time.monotonic()
        plain = [(held, thread_id) for held, (_, thread_id) in list(self._contexts.items()) if thread_id is not None]
        moving = self._clocks.moving(thread_id for _, thread_id in plain)
        for held, thread_id in plain:
            if held.started_at is None or thread_id not in moving:
                continue
            if held.stop is not None:
                if held.stopped_for(now) > (RELEASE_SECONDS if held.stop is Stop.RELEASE else COOPERATE_SECONDS):
                    interrupt_thread(held, thread_id, AskedToStop)
            elif now - held.started_at > held.job.timeout_seconds:
                interrupt_thread(held, thread_id, SoftLimit)

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
