"""`JobWorker`: one child process. Dramatiq's threads, and the loops on the event loop beside them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import dramatiq
import structlog
from dramatiq.asyncio import EventLoopThread

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.executor import JobExecutor
from headrace.runtime.process.every import every
from headrace.runtime.queue.hints import Hints
from headrace.runtime.store.crawl_results import CrawlResults
from headrace.runtime.store.reads import Reads
from headrace.worker.audit import AUDIT_SECONDS
from headrace.worker.board import Board, slots_of
from headrace.worker.breakers import REFRESH_SECONDS
from headrace.worker.broker import JobBroker
from headrace.worker.child_end import ChildEnd
from headrace.worker.child_parts import make_parts
from headrace.worker.child_spec import ChildSpec
from headrace.worker.cpu_limit import limit_cpu
from headrace.worker.resources import UsesResources, WorkerResources

BEAT_SECONDS = 0.5
PROGRESS_SECONDS = 1.0
LIMIT_SECONDS = 0.25
PAUSE_SECONDS = 1.5
"""How often a child asks MongoDB whether its pool is paused: a pause is obeyed within two seconds (B12)."""
LIFE_SECONDS = 2.0
"""How often a child asks whether it was declared dead: its supervisor may be gone, or stopped with it."""
INTERRUPT_CHECK_SECONDS = 60.0

log = structlog.get_logger(__name__)


class JobWorker:
    """One child: Dramatiq's worker with our broker, and the loops around it.

    Build it in the main thread, `boot` it there, `drain` it there, and `close` it there if the process goes on
    afterwards; everything else runs on the event loop thread.
    """

    def __init__(self, spec: ChildSpec, config: JobConfig, executors: dict[str, type[JobExecutor[Any]]]) -> None:
        self._spec = spec
        self._config = config
        self._executors = {name: executor() for name, executor in executors.items()}
        self._board = Board(spec.board_descriptor, spec.slots)
        self._thread = EventLoopThread(
            logging.getLogger("headrace.worker.loop"), interrupt_check_ival=INTERRUPT_CHECK_SECONDS
        )
        self._scratch_root = Path(spec.scratch)
        self._tasks: list[asyncio.Task[Any]] = []
        self._poke_sent = False

    def boot(self) -> None:
        """Start the loop thread, Dramatiq's threads and the loops. Returns when the child claims."""
        self._make_parts()
        self._broker = JobBroker(
            feed=self._parts.feed,
            run=limit_cpu(self._parts.runner.run, cpu_seconds=self._spec.cpu_seconds, slots=self._spec.slots),
            done=self._parts.settler.submit,
            thread=self._thread,
        )
        self._worker = dramatiq.Worker(self._broker, worker_threads=self._spec.slots, worker_timeout=1000)
        self._broker.declare_types(self._executors)
        self._worker.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._thread.loop).result()

    def _make_parts(self) -> None:
        self._parts = make_parts(
            self._spec,
            self._config,
            self._executors,
            board=self._board,
            thread=self._thread,
            scratch_root=self._scratch_root,
            on_room=self._room,
            follow_life=self._follow_life,
        )
        self._end = ChildEnd(self._parts)

    async def _start(self) -> None:
        spec, parts = self._spec, self._parts
        resources = WorkerResources(crawl_results=CrawlResults(parts.database.handle), config=self._config)
        for executor in self._executors.values():
            if isinstance(executor, UsesResources):
                executor.use(resources)
        self._stop = asyncio.Event()
        self._obey(self._board.order)
        self._claiming = asyncio.create_task(parts.claims.run())
        self._settling = asyncio.create_task(parts.settler.run())
        self._sending = asyncio.create_task(parts.sender.run())
        self._logging = asyncio.create_task(parts.logs.run())
        hints = Hints(parts.listening, self._config.namespace)
        duties = (
            self._duty(BEAT_SECONDS, self._beat, "beat"),
            self._duty(AUDIT_SECONDS, parts.audit.run_once, "audit"),
            self._duty(PROGRESS_SECONDS, parts.runner.running.flush_progress, "progress"),
            self._duty(LIMIT_SECONDS, parts.runner.running.enforce_limits, "limits"),
            self._duty(PAUSE_SECONDS, self._follow_pause, "pause"),
            self._duty(LIFE_SECONDS, self._follow_life, "life"),
            self._duty(REFRESH_SECONDS, parts.dependencies.refresh, "dependencies"),
            self._listen_for_wakes(hints),
            self._listen_for_control(hints),
        )
        self._tasks = [asyncio.create_task(duty) for duty in duties]
        self._board.set_ready()
        log.info("child.ready", pool=spec.pool, slots=spec.slots, types=list(spec.types))

    def _duty(self, seconds: float, run_once: Callable[[], Awaitable[object]], name: str) -> Coroutine[Any, Any, None]:
        return every(seconds, run_once, name=name, stop=self._stop)

    async def _beat(self) -> None:
        self._board.beat_loop()
        if self._claiming.done():
            self._board.beat_claim()  # it drains: no claim loop is missed, and the supervisor must let it finish
        self._follow_size()

    def resize(self) -> None:
        """Look how many slots are allowed now. From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._thread.loop.call_soon_threadsafe(self._follow_size)

    def _follow_size(self) -> None:
        order = self._board.order
        if self._board.ready and order != self._board.followed:
            self._obey(order)
            self._parts.claims.poke()

    def _obey(self, order: int) -> None:
        self._parts.feed.resize(slots_of(order))  # this says how many are held
        self._board.follow(order)

    async def _follow_life(self) -> None:
        await self._end.follow_life()

    async def _follow_pause(self) -> None:
        paused = await Reads(self._parts.database).paused()
        self._parts.claims.set_paused(self._spec.pool in paused)

    async def _listen_for_wakes(self, hints: Hints) -> None:
        async for _ in hints.wakes([self._spec.pool]):
            self._parts.claims.poke()

    async def _listen_for_control(self, hints: Hints) -> None:
        async for message in hints.controls():
            job_id = message.get("cancel")
            if isinstance(job_id, str) and self._parts.held.get(job_id) is not None:
                # A hint: what MongoDB says decides.
                try:
                    await self._parts.audit.run_once()
                except StoreUnavailableError as error:
                    log.warning("control.not_followed", detail=str(error))

    def _room(self) -> None:
        # Any thread. One wake-up for many free slots.
        if not self._poke_sent:
            self._poke_sent = True
            self._thread.loop.call_soon_threadsafe(self._poke)

    def _poke(self) -> None:
        self._poke_sent = False
        self._parts.claims.poke()

    def drain(self) -> None:
        """End in order: no new claims, hand back what has not started, finish or hand back the rest, say goodbye.

        Returns after at most the grace plus a few seconds. A plain function that cannot be stopped may still be running
        then; its job has been handed back, and the process must end. The threads are left as they are.
        """
        asyncio.run_coroutine_threadsafe(self._drain(), self._thread.loop).result()
        self._parts.feed.close()
        shutil.rmtree(self._scratch_root, ignore_errors=True)

    def close(self) -> None:
        """End the threads of a child that has drained. Takes a second: that is how often Dramatiq's look up."""
        if not len(self._parts.held):
            self._worker.stop(timeout=3000)

    async def _drain(self) -> None:
        await self._end.drain(claiming=self._claiming, settling=self._settling, logging=self._logging)
        self._stop.set()
        await self._end.close(self._tasks, sending=self._sending)
