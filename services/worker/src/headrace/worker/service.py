"""`JobWorkerService`: the supervisor of one host or container.

It imports neither Dramatiq nor executors, so it starts fast, stays small and cannot be blocked by a job: it is the part
that speaks for the children's lives.
"""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import UTC, datetime

import structlog

from headrace.contracts.config import JobConfig
from headrace.contracts.heartbeat import Heartbeat
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.process.every import every
from headrace.runtime.process.failpoints import afp
from headrace.runtime.process.ids import new_token
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.hints import Hints
from headrace.runtime.queue.history import EventLog
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.database import Database
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.job_types import JobType, JobTypes
from headrace.runtime.store.pools import Pools
from headrace.runtime.store.reads import Reads
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.web.metrics import version
from headrace.worker.catalogue import discover
from headrace.worker.child_watch import ChildWatch
from headrace.worker.hard_timeouts import HardTimeouts
from headrace.worker.pool_manager import WorkerPoolManager
from headrace.worker.pool_scaler import PoolScaler
from headrace.worker.pools import size_pools
from headrace.worker.pools_file import load_pools_file
from headrace.worker.scratch import remove_left_folders

WATCH_SECONDS = 0.5
POOLS_SECONDS = 0.25
"""How often pools are sized and children started and ended."""
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
        self._incarnations = Incarnations(self.database)
        self._types: dict[str, JobType] = {}
        self._timeouts = HardTimeouts(
            by=self.name,
            types=self._types,
            reads=Reads(self.database),
            state=JobStateManager(
                self.database, retention_days=config.retention_days, dead_retention_days=config.dead_retention_days
            ),
            queue=self.queue,
            events=EventLog(self.redis, config.namespace),
        )
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._told: dict[str, int] = {}
        self.pools: WorkerPoolManager | None = None
        self._is_registered = asyncio.Event()

    @property
    def unready(self) -> str | None:
        """Why a job that is submitted now might not be run here; None when it would be."""
        if not self._is_registered.is_set():
            return "its job types are not registered"
        if self.pools is None or not self.pools.is_ready():
            return "a pool has no child that claims"
        return None

    async def start(self) -> None:
        """Find out what is installed, then keep the children running. Works while every store is down.

        Raises:
            ConfigError: An installed executor is broken, or the pools file breaks a rule.
        """
        file = load_pools_file(self.config.pools_file)
        types = await discover(test_mode=self.config.test_mode)
        self._types.update({item.type: item for item in types})
        specs = size_pools(types, file, max_workers=self.config.max_workers)
        self.pools = WorkerPoolManager(
            specs,
            max_workers=self.config.max_workers,
            service=self.name,
            incarnations=self._incarnations,
            version=version(),
            lease_seconds=self.config.lease_seconds,
            grace_seconds=self.config.shutdown_grace_seconds,
            versions={name: item.contract_version for name, item in self._types.items()},
        )
        self.watch = ChildWatch(self.pools, self._timeouts, lease_seconds=self.config.lease_seconds)
        self._scaler = PoolScaler(
            self.pools,
            specs,
            queue=self.queue,
            settings=Pools(self.database),
            max_workers=self.config.max_workers,
        )
        self.pools.reconcile()
        heartbeat = self.config.worker_heartbeat_seconds
        self._tasks = [
            asyncio.create_task(self._register_types()),
            asyncio.create_task(self._clear_scratch()),
            asyncio.create_task(every(heartbeat, self.renew, name="renew", stop=self._stop)),
            asyncio.create_task(every(min(heartbeat, 5.0), self.beat, name="heartbeat", stop=self._stop)),
            asyncio.create_task(every(WATCH_SECONDS, self.watch.run_once, name="watch", stop=self._stop)),
            asyncio.create_task(every(POOLS_SECONDS, self._scaler.run_once, name="scale", stop=self._stop)),
            asyncio.create_task(every(POOLS_SECONDS, self._reconcile, name="pools", stop=self._stop)),
            asyncio.create_task(every(1.0, self._tell_slots, name="slots", stop=self._stop)),
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

    async def _clear_scratch(self) -> None:
        await asyncio.to_thread(remove_left_folders)

    async def _register_types(self) -> None:
        async def register() -> None:
            await self.database.ensure_indexes()
            await JobTypes(self.database).register(list(self._types.values()))
            self._is_registered.set()

        await every(0.5, register, name="register", stop=self._is_registered)

    # -- duties ------------------------------------------------------------------------------------------------

    async def _reconcile(self) -> None:
        assert self.pools is not None, "started before"
        self.pools.reconcile()

    async def _tell_slots(self) -> None:
        """Let MongoDB know how many slots each child is allowed, where that has changed."""
        assert self.pools is not None, "started before"
        slots = {child.incarnation: child.board.allowed for child in self.pools.children() if not child.ended.done()}
        changed = {name: number for name, number in slots.items() if self._told.get(name) != number}
        if changed:
            await self._incarnations.resize(changed)
        self._told = slots

    async def renew(self) -> int:
        """Renew the leases of all children whose loops turn, in one update. Ends those that were declared dead."""
        assert self.pools is not None, "started before"
        live = [child for child in self.pools.children() if not self.watch.is_stuck(child)]
        if not live:
            return 0
        await afp("worker.before_renew")
        alive = await self._incarnations.renew(
            [child.incarnation for child in live], lease_seconds=self.config.lease_seconds
        )
        await afp("worker.after_renew")
        for child in live:
            # A child that drains says goodbye itself, and its process ends a moment later.
            if child.incarnation not in alive and not (child.ended.done() or child.asked):
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
