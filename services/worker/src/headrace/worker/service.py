"""`JobWorkerService`: the supervisor of one host or container.

It imports neither Dramatiq nor executors, so it starts fast, stays small and cannot be blocked by a job: it is the part
that speaks for the children's lives.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from datetime import UTC, datetime

import structlog

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.events import EVENT_OF_TERMINAL, EventName, JobEvent
from headrace.contracts.heartbeat import Heartbeat
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.process.every import every
from headrace.runtime.process.ids import new_token
from headrace.runtime.queue.base import Entry
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.hints import Hints
from headrace.runtime.queue.history import EventLog
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.database import Database
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.job_types import JobType, JobTypes
from headrace.runtime.store.reads import Reads
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import SettleVerdict
from headrace.runtime.web.metrics import version
from headrace.worker import outcome
from headrace.worker.board import Started
from headrace.worker.catalogue import discover
from headrace.worker.child_process import ChildProcess
from headrace.worker.pool_manager import WorkerPoolManager
from headrace.worker.pools import plan_children

HARD_LIMIT_SECONDS = 10.0
"""A job that runs this much longer than its own limit cannot be stopped from inside; its process is replaced."""
WATCH_SECONDS = 0.5
LOOPS_SECONDS = 0.5
FAREWELL_SECONDS = 4.0
"""What children get beyond the grace to write what they hand back; jobs get the grace itself."""

log = structlog.get_logger(__name__)


class JobWorkerService:
    """Supervises the children: leases, heartbeats, hard limits, shutdown."""

    def __init__(self, config: JobConfig) -> None:
        self.config = config
        self.name = f"{socket.gethostname()}-{new_token()[:8]}"
        self.database = Database(config, appname="headrace-worker-supervisor", max_pool_size=4)
        self.redis = redis_client(config.redis_url, kind="command", name="headrace-worker-supervisor")
        self.redis_breaker, self.mongo_breaker = Breaker("redis"), Breaker("mongo")
        self.queue = RedisJobQueue(self.redis, namespace=config.namespace, breaker=self.redis_breaker)
        self._hints = Hints(self.redis, config.namespace)
        self._events = EventLog(self.redis, config.namespace)
        self._incarnations = Incarnations(self.database)
        self._state = JobStateManager(
            self.database, retention_days=config.retention_days, dead_retention_days=config.dead_retention_days
        )
        self._types: dict[str, JobType] = {}
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.pools: WorkerPoolManager | None = None

    async def start(self) -> None:
        """Find out what is installed, then keep the children running. Works while every store is down.

        Raises:
            ConfigError: An installed executor is broken.
        """
        types = await discover(test_mode=self.config.test_mode)
        self._types = {item.type: item for item in types}
        plans = plan_children(types, max_workers=self.config.max_workers)
        self.pools = WorkerPoolManager(
            plans,
            service=self.name,
            incarnations=self._incarnations,
            version=version(),
            lease_seconds=self.config.lease_seconds,
            grace_seconds=self.config.shutdown_grace_seconds,
        )
        if self.pools.slots > self.config.max_workers:
            log.warning("pools.one_slot_each", slots=self.pools.slots, max_workers=self.config.max_workers)
        self.pools.start()
        heartbeat = self.config.worker_heartbeat_seconds
        self._tasks = [
            asyncio.create_task(self._register_types()),
            asyncio.create_task(every(heartbeat, self.renew, name="renew", stop=self._stop)),
            asyncio.create_task(every(min(heartbeat, 5.0), self.beat, name="heartbeat", stop=self._stop)),
            asyncio.create_task(every(WATCH_SECONDS, self.watch, name="watch", stop=self._stop)),
        ]

    async def drain(self) -> None:
        """End the children in order."""
        if self.pools is not None:
            await self.pools.drain()
        await self.beat()

    async def close(self) -> None:
        """End everything that is left."""
        self._stop.set()
        if self.pools is not None:
            await self.pools.end(within=FAREWELL_SECONDS)
        for task in self._tasks:
            task.cancel()
        if self._tasks:  # bounded: the Redis client may swallow a cancellation
            await asyncio.wait(self._tasks, timeout=LOOPS_SECONDS)
        await self.redis.aclose()
        self.database.close()

    async def _register_types(self) -> None:
        done = asyncio.Event()

        async def register() -> None:
            await self.database.ensure_indexes()
            await JobTypes(self.database).register(list(self._types.values()))
            done.set()

        await every(0.5, register, name="register", stop=done)

    # -- duties ------------------------------------------------------------------------------------------------

    async def renew(self) -> int:
        """Renew the leases of all children whose loops turn, in one update. Ends those that were declared dead."""
        assert self.pools is not None, "started before"
        live = [child for child in self.pools.children() if not self._is_stuck(child)]
        if not live:
            return 0
        alive = await self._incarnations.renew(
            [child.incarnation for child in live], lease_seconds=self.config.lease_seconds
        )
        for child in live:
            # A child that drains says goodbye itself, and its process ends a moment later.
            if child.incarnation not in alive and not child.ended.done() and not self.pools.ending:
                log.warning("child.declared_dead", incarnation=child.incarnation)
                child.kill()
        return len(alive)

    async def beat(self) -> Heartbeat:
        """Publish the heartbeat; a hint for the monitor."""
        children = [child.beat() for child in self.pools.children() if not child.ended.done()] if self.pools else []
        heartbeat = Heartbeat(
            service=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version(),
            at=datetime.now(UTC),
            slots=sum(child.slots for child in children),
            busy=sum(child.busy for child in children),
            children=tuple(children),
        )
        await self._hints.beat(heartbeat)
        return heartbeat

    async def watch(self) -> int:
        """Replace children that cannot stop a job or do not turn any more. Returns how many."""
        assert self.pools is not None, "started before"
        ended = 0
        now = time.monotonic()
        for child in self.pools.children():
            if child.ended.done() or child.killed:
                continue
            over = [job for job in child.board.running() if now - job.since > job.limit_seconds + HARD_LIMIT_SECONDS]
            if over:
                log.warning("child.hard_limit", incarnation=child.incarnation, jobs=[job.job_id for job in over])
                child.culprit = over[0].job_id
                # Its own transition first, so that the neighbours' orphaning is not blamed on them.
                for job in over:
                    await self._time_out(child, job)
                child.kill()
                ended += 1
            elif self._is_stuck(child):
                log.warning("child.stuck", incarnation=child.incarnation)
                child.kill()
                ended += 1
        return ended

    def _is_stuck(self, child: ChildProcess) -> bool:
        """Whether a loop of the child has not turned for a whole lease. A lease must not outlive the work."""
        if not child.board.ready:
            return time.monotonic() - child.began > max(self.config.lease_seconds, 30.0)
        beats = child.board.beats()
        return time.monotonic() - min(beats.loop, beats.claim) > max(self.config.lease_seconds, 10.0)

    async def _time_out(self, child: ChildProcess, job: Started) -> None:
        try:
            stored = await Reads(self.database).job(job.job_id)
            if stored.attempt != job.attempt or stored.owner != child.incarnation:
                return
            settlement = outcome.failed(
                stored,
                outcome.JobTimeout(f"ran longer than {job.limit_seconds:g} s and could not be stopped"),
                policy=self._types[stored.type].policy.retry,
                jitter=random.random(),
                started_ms_ago=int((time.monotonic() - job.since) * 1000),
            )
            (answer,) = await self._state.settle([settlement], by=self.name, owner=child.incarnation)
            if answer.verdict is SettleVerdict.FENCED or answer.state is None:
                return
            over = answer.state.is_terminal
            await self._events.publish(
                [
                    JobEvent(
                        event=EVENT_OF_TERMINAL[answer.state] if over else EventName.RETRYING,
                        id=stored.id,
                        type=stored.type,
                        pool=stored.pool,
                        state=answer.state,
                        attempt=stored.attempt,
                        at=datetime.now(UTC),
                        tenant=stored.tenant,
                    )
                ]
            )
            if over:
                await self.queue.settle(stored.pool, [stored.id])
            else:
                entry = Entry(stored.id, answer.score, due_ms=answer.run_at_ms, token=stored.claim_token or "")
                await self.queue.requeue(stored.pool, [entry])
        except StoreUnavailableError as error:
            # The kill goes on: the orphan pass counts a crash for the culprit instead of a timeout.
            log.warning("child.timeout_not_written", job_id=job.job_id, detail=str(error))
