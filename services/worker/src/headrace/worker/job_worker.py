"""`JobWorker`: one child process. Puts the parts together on the event loop, and takes them apart in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dramatiq
import structlog
from dramatiq.asyncio import EventLoopThread

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.executor import JobExecutor
from headrace.contracts.heartbeat import ExitRecord
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.process.every import every
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.event_sender import EventSender
from headrace.runtime.queue.hints import Hints
from headrace.runtime.queue.history import EventLog
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.breakers import DependencyBreakers
from headrace.runtime.store.crawl_results import CrawlResults
from headrace.runtime.store.database import Database
from headrace.runtime.store.event_reads import EventReads
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.job_logs import JobLogs
from headrace.runtime.store.persistent_queue import PersistentJobQueue
from headrace.runtime.store.reads import Reads
from headrace.runtime.store.state_manager import JobStateManager
from headrace.worker.announce import ChildAnnouncer
from headrace.worker.audit import AUDIT_SECONDS, Audit
from headrace.worker.board import Board, slots_of
from headrace.worker.breakers import REFRESH_SECONDS, Dependencies
from headrace.worker.broker import JobBroker
from headrace.worker.claim_loop import ClaimLoop, Pool
from headrace.worker.cpu_limit import limit_cpu
from headrace.worker.feed import Feed
from headrace.worker.held import HeldJobs, Stop
from headrace.worker.job_logs import JobLogWriter
from headrace.worker.resources import UsesResources, WorkerResources
from headrace.worker.runner import Runner
from headrace.worker.settler import Settler

BEAT_SECONDS = 0.5
PROGRESS_SECONDS = 1.0
LIMIT_SECONDS = 0.25
PAUSE_SECONDS = 1.5
"""How often a child asks MongoDB whether its pool is paused: a pause is obeyed within two seconds (B12)."""
STOP_SECONDS = 1.0
"""How long jobs that were told to stop at shutdown may take before the process ends around them."""
FLUSH_SECONDS = 2.0
LOOPS_SECONDS = 0.5
LIFE_SECONDS = 2.0
"""How often a child asks whether it was declared dead: its supervisor may be gone, or stopped with it."""
LOST_CODE = 3
"""Exit code of a child that was declared dead."""
INTERRUPT_CHECK_SECONDS = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ChildSpec:
    """What the supervisor tells a child about itself."""

    incarnation: str
    pool: str
    types: tuple[str, ...]
    slots: int
    board_descriptor: int
    grace_seconds: float
    max_jobs: int | None = None
    cpu_seconds: int | None = None


class JobWorker:
    """One child: Dramatiq's worker with our broker, and the loops around it.

    Build it in the main thread, `boot` it there, and `drain` it there; everything else runs on the event loop thread.
    """

    def __init__(self, spec: ChildSpec, config: JobConfig, executors: dict[str, type[JobExecutor[Any]]]) -> None:
        self._spec = spec
        self._config = config
        self._executors = {name: executor() for name, executor in executors.items()}
        self._board = Board(spec.board_descriptor, spec.slots)
        self._thread = EventLoopThread(
            logging.getLogger("headrace.worker.loop"), interrupt_check_ival=INTERRUPT_CHECK_SECONDS
        )
        self._scratch_root = Path(tempfile.mkdtemp(prefix=f"headrace-{spec.incarnation}-"))
        self._tasks: list[asyncio.Task[Any]] = []
        self._draining = False

    def boot(self) -> None:
        """Start the loop thread, Dramatiq's threads and the loops. Returns when the child claims."""
        loop = self._thread.loop
        self._make_parts(loop)
        self._broker = JobBroker(
            feed=self._feed,
            run=limit_cpu(self._runner.run, cpu_seconds=self._spec.cpu_seconds, slots=self._spec.slots),
            done=self._settler.submit,
            thread=self._thread,
        )
        self._worker = dramatiq.Worker(self._broker, worker_threads=self._spec.slots, worker_timeout=1000)
        self._broker.declare_types(self._executors)
        self._worker.start()
        asyncio.run_coroutine_threadsafe(self._start(), loop).result()

    def _make_parts(self, loop: asyncio.AbstractEventLoop) -> None:
        self._held = HeldJobs()
        self._feed = Feed(0, self._room, max_jobs=self._spec.max_jobs, on_held=self._board.hold)
        self._poke_sent = False
        database = Database(self._config, appname="headrace-worker", max_pool_size=8)
        self._database = database
        self._state = JobStateManager(
            database,
            retention_days=self._config.retention_days,
            dead_retention_days=self._config.dead_retention_days,
        )
        queue = self._make_queue()
        self._sender = EventSender(EventLog(self._redis, self._config.namespace), loop)
        self._announcer = ChildAnnouncer(self._sender, self._spec.pool, EventReads(database))
        self._logs = JobLogWriter(JobLogs(database), loop)
        self._dependencies = Dependencies(DependencyBreakers(database))
        self._runner = Runner(
            executors=self._executors,
            config=self._config,
            incarnation=self._spec.incarnation,
            state=self._state,
            board=self._board,
            thread=self._thread,
            scratch_root=self._scratch_root,
            announcer=self._announcer,
            logs=self._logs,
            dependencies=self._dependencies,
        )
        self._settler = Settler(
            pool=self._spec.pool,
            incarnation=self._spec.incarnation,
            state=self._state,
            queue=queue,
            held=self._held,
            board=self._board,
            loop=loop,
            announcer=self._announcer,
        )

    def _make_queue(self) -> RedisJobQueue:
        self._redis = redis_client(self._config.redis_url, kind="command", name="headrace-worker")
        self._listening = redis_client(self._config.redis_url, kind="pubsub", name="headrace-worker-hints")
        self._queue = RedisJobQueue(self._redis, namespace=self._config.namespace)
        return self._queue

    async def _start(self) -> None:
        spec = self._spec
        resources = WorkerResources(crawl_results=CrawlResults(self._database.handle), config=self._config)
        for executor in self._executors.values():
            if isinstance(executor, UsesResources):
                executor.use(resources)
        self._claims = ClaimLoop(
            pool=Pool(
                spec.pool,
                spec.types,
                spec.slots,
                self._config.claim_horizon_ms / 1000,
                {name: executor.contract_version for name, executor in self._executors.items()},
            ),
            incarnation=spec.incarnation,
            queue=self._queue,
            direct=PersistentJobQueue(self._database),
            breaker=Breaker("redis"),
            state=self._state,
            held=self._held,
            feed=self._feed,
            run_times=self._runner.run_times,
            settler=self._settler,
            board=self._board,
            announcer=self._announcer,
        )
        self._audit = Audit(
            pool=spec.pool,
            incarnation=spec.incarnation,
            state=self._state,
            queue=self._queue,
            held=self._held,
            feed=self._feed,
            settler=self._settler,
            announcer=self._announcer,
        )
        self._stop = asyncio.Event()
        self._obey(self._board.order)
        self._claiming = asyncio.create_task(self._claims.run())
        self._settling = asyncio.create_task(self._settler.run())
        self._sending = asyncio.create_task(self._sender.run())
        self._logging = asyncio.create_task(self._logs.run())
        hints = Hints(self._listening, self._config.namespace)
        duties = (
            self._duty(BEAT_SECONDS, self._beat, "beat"),
            self._duty(AUDIT_SECONDS, self._audit.run_once, "audit"),
            self._duty(PROGRESS_SECONDS, self._runner.flush_progress, "progress"),
            self._duty(LIMIT_SECONDS, self._runner.enforce_limits, "limits"),
            self._duty(PAUSE_SECONDS, self._follow_pause, "pause"),
            self._duty(LIFE_SECONDS, self._follow_life, "life"),
            self._duty(REFRESH_SECONDS, self._dependencies.refresh, "dependencies"),
            self._listen_for_wakes(hints),
            self._listen_for_control(hints),
        )
        self._tasks = [asyncio.create_task(duty) for duty in duties]
        self._board.set_ready()
        log.info("child.ready", pool=spec.pool, slots=spec.slots, types=list(spec.types))

    def _duty(self, seconds: float, run_once: Any, name: str) -> Any:
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
            self._claims.poke()

    def _obey(self, order: int) -> None:
        self._feed.resize(slots_of(order))  # this says how many are held
        self._board.follow(order)

    async def _follow_pause(self) -> None:
        paused = await Reads(self._database).paused()
        self._claims.set_paused(self._spec.pool in paused)

    async def _follow_life(self) -> None:
        found = await Incarnations(self._database).get(self._spec.incarnation)
        if self._draining or found is None or found.dead_at is None:
            return
        # Its jobs are somebody else's now. Whatever it writes is refused; what it does besides must end too.
        log.error("child.declared_dead", jobs=len(self._held), exit=found.exit.kind if found.exit else None)
        self._draining = True
        self._claims.stop()
        waiting = {held.job.id for held in self._feed.withdraw()}
        for held in self._held.all():
            held.ask_to_stop(Stop.LOST)
            if held.job.id in waiting:
                self._settler.submit_stopped(held)
        await self._until_idle(STOP_SECONDS)
        self._board.count(fenced=len(self._held))
        sys.stderr.flush()
        os._exit(LOST_CODE)

    async def _listen_for_wakes(self, hints: Hints) -> None:
        async for _ in hints.wakes([self._spec.pool]):
            self._claims.poke()

    async def _listen_for_control(self, hints: Hints) -> None:
        async for message in hints.controls():
            job_id = message.get("cancel")
            if isinstance(job_id, str) and self._held.get(job_id) is not None:
                # A hint: what MongoDB says decides.
                try:
                    await self._audit.run_once()
                except StoreUnavailableError as error:
                    log.warning("control.not_followed", detail=str(error))

    def _room(self) -> None:
        # Any thread. One wake-up for many free slots.
        if not self._poke_sent:
            self._poke_sent = True
            self._thread.loop.call_soon_threadsafe(self._poke)

    def _poke(self) -> None:
        self._poke_sent = False
        self._claims.poke()

    # -- the end -----------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """End in order: no new claims, hand back what has not started, finish or hand back the rest, say goodbye.

        Returns after at most the grace plus a few seconds. A plain function that cannot be stopped may still be running
        then; its job has been handed back, and the process must end.
        """
        asyncio.run_coroutine_threadsafe(self._drain(), self._thread.loop).result()
        self._feed.close()
        if not len(self._held):
            self._worker.stop(timeout=3000)
        shutil.rmtree(self._scratch_root, ignore_errors=True)

    async def _drain(self) -> None:
        self._draining = True
        self._claims.stop()
        await self._claiming
        for held in self._feed.withdraw():
            self._settler.submit(held)
        await self._until_idle(self._spec.grace_seconds)
        for held in self._held.all():
            held.ask_to_stop(Stop.RELEASE)
        await self._until_idle(STOP_SECONDS)
        self._settler.stop()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._settling
                self._logs.stop()
                await self._logging
                await self._logs.flush()
                # What still runs cannot be stopped; hand it back in MongoDB, its own settlement will be fenced.
                await self._audit_finally()
                await Incarnations(self._database).mark_dead(
                    self._spec.incarnation, exit_record=ExitRecord(kind="graceful", code=0), running=()
                )
        except (TimeoutError, StoreUnavailableError) as error:
            log.warning("child.drain_incomplete", error=type(error).__name__)
        self._stop.set()
        self._sender.close()
        await self._sending
        for task in self._tasks:
            task.cancel()
        # Bounded: the Redis client may swallow a cancellation, and then a loop goes on until its connection is closed.
        await asyncio.wait(self._tasks, timeout=LOOPS_SECONDS)
        await self._redis.aclose()
        await self._listening.aclose()
        self._database.close()
        log.info("child.drained", left=len(self._held))

    async def _audit_finally(self) -> None:
        stuck = self._held.all()
        for held in stuck:
            self._held.drop(held)
        await self._audit.run_once(final=True)
        self._held.add(stuck)

    async def _until_idle(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._held.idle.wait()
        except TimeoutError:
            pass
