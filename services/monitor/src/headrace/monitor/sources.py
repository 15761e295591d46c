"""What the monitor reads of MongoDB and Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TypeVar

from headrace.contracts.config import JobConfig
from headrace.contracts.heartbeat import Heartbeat, Incarnation
from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.monitor.ask import ASK_SECONDS, Answer, ask
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.queue import Depths, Hints, RedisJobQueue, redis_client
from headrace.runtime.store.audit import AuditLog
from headrace.runtime.store.breakers import DependencyBreaker, DependencyBreakers
from headrace.runtime.store.database import Database
from headrace.runtime.store.dead_reads import DeadFilter, DeadReads
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.job_search import JobSearch
from headrace.runtime.store.job_types import JobType, JobTypes
from headrace.runtime.store.leases import LeaseView, read_lease
from headrace.runtime.store.page_reads import PageReads
from headrace.runtime.store.persistent_queue import PersistentJobQueue
from headrace.runtime.store.pools import Pools, PoolSettings
from headrace.runtime.store.reads import JobQuery, Reads

T = TypeVar("T")
RECOVERY_LEASE = "recovery"
COUNT_CAP = 10_000
LISTED_JOBS = 10


@dataclass(frozen=True)
class StoreFacts:
    """What MongoDB says. `reason` is set when it does not answer; a part that failed alone is None."""

    reason: str = ""
    counts: dict[str, int] | None = None
    failures: list[Job] | None = None
    running: list[Job] | None = None
    settings: dict[str, PoolSettings] | None = None
    types: list[JobType] | None = None
    not_indexed: int | None = None
    breakers: list[DependencyBreaker] | None = None
    incarnations: list[Incarnation] | None = None
    lease: Answer[LeaseView | None] = field(default_factory=Answer)


@dataclass(frozen=True)
class QueueFacts:
    """What Redis says. `reason` is set when it does not answer."""

    reason: str = ""
    now_ms: int = 0
    beats: list[Heartbeat] = field(default_factory=list)


class MongoSource:
    """Reads of MongoDB. The first ones never raise; what single pages need raises `StoreUnavailableError`."""

    def __init__(self, config: JobConfig) -> None:
        self.breaker = Breaker("MongoDB")
        self.database = Database(config, appname="headrace-monitor", max_pool_size=10)
        self._reads = Reads(self.database)
        self._types = JobTypes(self.database)
        self._pools = Pools(self.database)
        self._incarnations = Incarnations(self.database)
        self._breakers = DependencyBreakers(self.database)
        self._direct = PersistentJobQueue(self.database)
        self.page_reads = PageReads(self.database)
        self.search = JobSearch(self.database)
        self.dead = DeadReads(self.database)
        self.audit = AuditLog(self.database)

    async def ping(self) -> Answer[None]:
        """Whether it answers."""
        return await ask(self.breaker, self.database.ping)

    async def facts(self) -> StoreFacts:
        """Everything the overview needs. The ping goes first, so that a store that is away costs one wait."""
        alive = await self.ping()
        if not alive.ok:
            return StoreFacts(reason=alive.reason)
        counts, failures, running = await self._lists()
        settings, types, incarnations, lease, not_indexed, breakers = await self._state()
        return StoreFacts(
            counts=counts.value,
            failures=failures.value,
            running=running.value,
            settings=settings.value,
            types=types.value,
            incarnations=incarnations.value,
            lease=lease,
            not_indexed=not_indexed.value,
            breakers=breakers.value,
        )

    async def _lists(self) -> tuple[Answer[dict[str, int]], Answer[list[Job]], Answer[list[Job]]]:
        dead = DeadFilter()
        processing = JobQuery(states=[JobState.PROCESSING], limit=LISTED_JOBS)
        return await asyncio.gather(
            ask(self.breaker, partial(self._reads.counts_by_state, cap=COUNT_CAP)),
            ask(self.breaker, partial(self.dead.newest, dead, before_id=None, limit=LISTED_JOBS)),
            ask(self.breaker, partial(self._reads.jobs, processing)),
        )

    async def _state(
        self,
    ) -> tuple[
        Answer[dict[str, PoolSettings]],
        Answer[list[JobType]],
        Answer[list[Incarnation]],
        Answer[LeaseView | None],
        Answer[int],
        Answer[list[DependencyBreaker]],
    ]:
        return await asyncio.gather(
            ask(self.breaker, self._pools.all),
            ask(self.breaker, self._types.all),
            ask(self.breaker, self._incarnations.alive),
            ask(self.breaker, partial(read_lease, self.database, RECOVERY_LEASE)),
            ask(self.breaker, partial(self.page_reads.not_indexed, cap=COUNT_CAP)),
            ask(self.breaker, self._breakers.all),
        )

    async def ended_in_order(self, incarnation_ids: Sequence[str]) -> set[str]:
        """Those of the worker children that ended gracefully; nothing about the others."""
        if not incarnation_ids:
            return set()
        found = (await ask(self.breaker, partial(self.page_reads.workers, incarnation_ids))).value or {}
        return {name for name, child in found.items() if child.exit is not None and child.exit.kind == "graceful"}

    async def read(self, call: Callable[[], Awaitable[T]]) -> T:
        """A read for one page, behind the breaker: while MongoDB is known to be away it fails at once.

        Raises:
            StoreUnavailableError: MongoDB does not answer.
        """
        return await self.breaker.call(call)

    async def job(self, job_id: str, *, tenant: str | None) -> Job:
        """One job, whole; raises `NotFoundError` too."""
        return await self.read(partial(self._reads.job, job_id, tenant=tenant))

    async def pulse(self, job_id: str, *, tenant: str | None) -> str | None:
        """A text that changes whenever a job's page would; None when there is no such job for this tenant."""
        return await self.read(partial(self.page_reads.pulse, job_id, tenant=tenant))

    async def pool_settings(self, pool: str) -> PoolSettings:
        """What operators have set for a pool."""
        return await self.read(partial(self._pools.settings, pool))

    async def breakers(self) -> list[DependencyBreaker]:
        """The dependencies that fail."""
        return await self.read(self._breakers.all)

    async def depths(self, pool: str) -> Depths:
        """How much of a pool is where, counted in MongoDB."""
        return await self.read(partial(self._direct.depths, pool))

    def close(self) -> None:
        """Close the connections."""
        self.database.close()


class RedisSource:
    """Reads of Redis."""

    def __init__(self, config: JobConfig) -> None:
        self.breaker = Breaker("Redis")
        redis = redis_client(
            config.redis_url, kind="command", name="headrace-monitor", answer_seconds=ASK_SECONDS, max_connections=10
        )
        self._queue = RedisJobQueue(redis, namespace=config.namespace)
        self._hints = Hints(redis, config.namespace)

    async def ping(self) -> Answer[None]:
        """Whether it answers."""
        return await ask(self.breaker, self._queue.ping)

    async def facts(self) -> QueueFacts:
        """Its clock and the heartbeats."""
        now = await ask(self.breaker, self._queue.time_ms)
        beats = await ask(self.breaker, self._hints.heartbeats)
        if now.value is None or beats.value is None:
            return QueueFacts(reason=now.reason or beats.reason)
        return QueueFacts(now_ms=now.value, beats=beats.value)

    async def depths(self, pools: Sequence[str]) -> dict[str, Depths]:
        """How much is where, for each pool that could be read."""
        answers = await asyncio.gather(*(ask(self.breaker, partial(self._queue.depths, pool)) for pool in pools))
        pairs = zip(pools, answers, strict=True)
        return {pool: answer.value for pool, answer in pairs if answer.value is not None}

    async def close(self) -> None:
        """Close the connections."""
        await self._queue.close()


def seconds_since(moment: datetime, now_ms: int) -> float:
    """The age of a time by Redis' clock; never negative, since the clocks of two machines differ a little."""
    return max(0.0, round(now_ms / 1000 - moment.timestamp(), 1))
