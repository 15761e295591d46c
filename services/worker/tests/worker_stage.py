"""One child's parts on real stores and the test's own event loop, without Dramatiq: tests take and end jobs by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from pymongo import MongoClient
from redis.asyncio import Redis

from headrace.contracts.config import JobConfig
from headrace.contracts.job import Job
from headrace.contracts.states import JobState, is_legal
from headrace.local.stores import MongoServer
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.process.ids import new_incarnation
from headrace.runtime.queue.base import Entry, Located
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.keys import Keys
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.database import Database
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.persistent_queue import PersistentJobQueue
from headrace.runtime.store.reads import Reads
from headrace.runtime.store.state_manager import JobStateManager
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually
from headrace.worker import outcome
from headrace.worker.audit import Audit
from headrace.worker.board import Board
from headrace.worker.budget import RunTimes
from headrace.worker.claim import Claims, Pool
from headrace.worker.claim_loop import ClaimLoop
from headrace.worker.feed import Feed
from headrace.worker.held import Held, HeldJobs
from headrace.worker.prefetch import Prefetch
from headrace.worker.refused import RefusedIds
from headrace.worker.settler import Settler

POOL = "default"


class Child:
    """What a child is made of, less the threads."""

    def __init__(
        self,
        stage: Stage,
        *,
        slots: int,
        horizon_seconds: float,
        types: tuple[str, ...],
        versions: Mapping[str, int] | None = None,
    ) -> None:
        self.incarnation = new_incarnation()
        self.held = HeldJobs()
        self.declared_dead = False
        self.lives = 0
        self.board = Board.create(slots)
        self.run_times = RunTimes()
        self.feed = Feed(slots, self._room)
        self._loop = asyncio.get_running_loop()
        shared: dict[str, Any] = {"incarnation": self.incarnation, "state": stage.state, "held": self.held}
        self.settler = Settler(pool=POOL, queue=stage.queue, board=self.board, loop=self._loop, **shared)
        pool = Pool(POOL, types, versions or {})
        self.claims = ClaimLoop(
            pool=pool,
            claims=Claims(
                pool=pool,
                queue=stage.queue,
                direct=PersistentJobQueue(stage.database),
                breaker=Breaker("redis"),
                board=self.board,
                **shared,
            ),
            prefetch=Prefetch(
                horizon_seconds=horizon_seconds,
                feed=self.feed,
                held=self.held,
                run_times=self.run_times,
                settler=self.settler,
            ),
            refused=RefusedIds(pool=pool, state=stage.state, queue=stage.queue),
            board=self.board,
            follow_life=self._follow_life,
        )
        self.audit = Audit(pool=POOL, queue=stage.queue, feed=self.feed, settler=self.settler, **shared)
        self._tasks: list[asyncio.Task[None]] = []

    async def _follow_life(self) -> None:
        """A child ends its process here; this one only claims no more."""
        self.lives += 1
        if self.declared_dead:
            self.claims.stop()

    def _room(self) -> None:
        self._loop.call_soon_threadsafe(self.claims.poke)

    def settle(self) -> None:
        """Start the settler."""
        self._tasks.append(asyncio.create_task(self.settler.run()))

    def claim(self) -> None:
        """Start the claim loop, and the settler it hands back to."""
        self.settle()
        self._tasks.append(asyncio.create_task(self.claims.run()))

    async def take(self, *, within: float = 10) -> Held:
        """The next claimed job, as a thread would take it; it runs from now on."""
        held = await eventually(lambda: self.feed.take(0), within=within, what="a claimed job")
        assert held.begin(lambda _: None)
        self.board.start(0, held.job.id, held.job.attempt, held.job.timeout_seconds)
        return held

    async def run_jobs(self, count: int) -> list[str]:
        """Run so many jobs to their end; their ids in the order of their starts."""
        order = []
        for _ in range(count):
            held = await self.take()
            order.append(held.job.id)
            self.complete(held)
        return order

    def complete(self, held: Held, result: str | None = "1") -> None:
        """End a taken job well."""
        held.settlement = outcome.completed(held.job, result, started_ms_ago=held.started_ms_ago() or 0)
        self.hand_in(held)

    def hand_in(self, held: Held) -> None:
        """End a taken job with the settlement it carries."""
        held.end()
        self.board.end(0)
        self.feed.done(held)
        self.settler.submit(held)

    async def stop(self) -> None:
        """End the loops as a child does."""
        self.claims.stop()
        self.settler.stop()
        if self._tasks:
            done, late = await asyncio.wait(self._tasks, timeout=15)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            assert not late, "a loop did not end"
            for task in done:
                task.result()
        self.board.close()


class Stage:
    """The stores, jobs in them, and children."""

    def __init__(self, config: JobConfig, database: Database, redis: Redis, client: MongoClient[Any]) -> None:
        self.config = config
        self.database = database
        self.redis = redis
        self.keys = Keys(config.namespace).pool(POOL)
        self.queue = RedisJobQueue(redis, namespace=config.namespace)
        self.state = JobStateManager(database)
        self.incarnations = Incarnations(database)
        self.reads = Reads(database)
        self.jobs: Any = client[config.mongo_database]["jobs"]
        self._admin = client.admin
        self._children: list[Child] = []

    def child(
        self,
        *,
        slots: int = 2,
        horizon_seconds: float = 0.0,
        types: tuple[str, ...] = ("noop",),
        versions: Mapping[str, int] | None = None,
        start: bool = True,
    ) -> Child:
        """A child that claims (unless `start` is false: then nothing of it runs)."""
        child = Child(self, slots=slots, horizon_seconds=horizon_seconds, types=types, versions=versions)
        self._children.append(child)
        if start:
            child.claim()
        return child

    async def submit(self, count: int = 1, **fields: Any) -> list[Job]:
        """Store jobs and let them wait in Redis, as the scheduler does."""
        jobs = [make_job(**fields) for _ in range(count)]
        await self.state.insert(jobs)
        await self.queue.enqueue(
            jobs[0].pool,
            [Entry(job.id, job.ready_score, 0 if job.run_at <= job.created_at else job.run_at_ms) for job in jobs],
        )
        return jobs

    async def claimed(self, child: Child, **fields: Any) -> Held:
        """A job that the child has claimed by hand and holds, waiting in its feed."""
        (job,) = await self.submit(**fields)
        token = f"t-{job.id}"
        claim = await self.queue.claim(POOL, token=token, count=1)
        assert claim.ids == (job.id,)
        (own,) = await self.state.claim([job.id], token=token, owner=child.incarnation, types=[job.type])
        held = Held(own, token)
        child.held.add([held])
        child.feed.put([held])
        return held

    async def job(self, job: Job | Held) -> Job:
        """How it stands, with its history checked: legal steps, no gap, at most one end."""
        stored = await self.reads.job(job.id if isinstance(job, Job) else job.job.id)
        assert [entry.seq for entry in stored.log] == list(range(len(stored.log)))
        assert all(is_legal(entry.from_, entry.to) for entry in stored.log)
        assert sum(entry.to.is_terminal for entry in stored.log) <= 1
        assert stored.log[-1].to is stored.state
        return stored

    async def in_state(self, job: Job | Held, state: JobState | str) -> Job | None:
        """The job if it is in this state; for `eventually`."""
        stored = await self.job(job)
        return stored if stored.state == state else None

    async def reasons(self, job: Job | Held) -> list[str]:
        """Its history in words."""
        return [entry.reason.value for entry in (await self.job(job)).log]

    async def where(self, job: Job | Held) -> Located:
        """Where its id is in Redis."""
        (located,) = await self.queue.locate(POOL, [job.id if isinstance(job, Job) else job.job.id])
        return located

    @contextmanager
    def failing(self, *commands: str, times: int | None = None, **data: Any) -> Iterator[None]:
        """Let the server fail commands of this test's own connections, so many times or as long as this lasts."""
        mode = "alwaysOn" if times is None else {"times": times}
        self._fail_point(mode, {"failCommands": list(commands), "appName": self.config.mongo_database, **data})
        try:
            yield
        finally:
            self._fail_point("off", None)

    def _fail_point(self, mode: Any, data: dict[str, Any] | None) -> None:
        self._admin.command({"configureFailPoint": "failCommand", "mode": mode} | ({"data": data} if data else {}))

    async def stop(self) -> None:
        """End every child."""
        for child in self._children:
            await child.stop()


@asynccontextmanager
async def open_stage(config: JobConfig, mongo: MongoServer) -> AsyncIterator[Stage]:
    """A stage on these stores."""
    database = Database(config, appname=config.mongo_database)
    redis = redis_client(config.redis_url, kind="command", name="test")
    with mongo.client() as client:
        stage = Stage(config, database, redis, client)
        try:
            try:
                yield stage
            finally:
                await stage.stop()
        finally:
            await redis.aclose()
            database.close()
