"""The stores and handles that the benchmarks share, and what they print."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from headrace.contracts.config import JobConfig
from headrace.contracts.job import Job, Priority
from headrace.local.stores import MongoServer, RedisServer
from headrace.runtime.process.ids import new_incarnation
from headrace.runtime.queue.base import Entry
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.database import Database
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.state_manager import JobStateManager
from headrace.testing.builders import make_job
from headrace.worker.child_process import ChildProcess
from headrace.worker.pools import ChildPlan

BATCH = 1000


@dataclass
class Bench:
    """Open handles on fresh stores."""

    config: JobConfig
    database: Database
    state: JobStateManager
    redis: Redis
    queue: RedisJobQueue
    redis_server: RedisServer
    mongo_server: MongoServer

    @property
    def redis_pid(self) -> int:
        """The process of Redis, as of now."""
        return self.redis_server.pid

    @property
    def mongo_pid(self) -> int:
        """The process of MongoDB, as of now."""
        return self.mongo_server.pid

    async def empty(self) -> None:
        """Forget everything, so that every round starts alike."""
        await self.database.handle.client.drop_database(self.config.mongo_database)
        await self.database.ensure_indexes()
        await self.redis.flushall()

    async def fill(self, count: int, *, pool: str = "default", store: bool = True) -> list[Job]:
        """Let jobs of all three priorities wait; `store=False` fills Redis alone."""
        priorities = list(Priority)
        jobs: list[Job] = []
        for start in range(0, count, BATCH):
            batch = [make_job(priority=priorities[i % 3], pool=pool) for i in range(start, min(start + BATCH, count))]
            if store:
                await self.state.insert(batch)
            await self.queue.enqueue(pool, [Entry(job.id, job.ready_score) for job in batch])
            jobs += batch if store else []
        return jobs

    async def start_child(self, *, slots: int, pool: str = "default", types: Sequence[str] = ("noop",)) -> ChildProcess:
        """One registered worker child."""
        incarnation = new_incarnation()
        await Incarnations(self.database).register(
            incarnation,
            service="bench",
            host="bench",
            pool=pool,
            types=types,
            slots=slots,
            version="bench",
            lease_seconds=600,
        )
        return ChildProcess.spawn(incarnation, ChildPlan(pool, tuple(types), slots), grace_seconds=2)

    async def complete_pool(self, pool: str = "default") -> None:
        """Say that Redis holds every job of the pool, as recovery does after a rebuild."""
        await self.queue.finish_rebuild(pool, await self.queue.begin_rebuild(pool))


@asynccontextmanager
async def bench_stores(*, cache_gb: float = 0.25, **settings: Any) -> AsyncIterator[Bench]:
    """Fresh stores; their addresses also stand in the environment, for the processes that a benchmark starts."""
    with RedisServer() as redis_server, MongoServer(cache_gb=cache_gb) as mongo_server:
        os.environ.update(
            JOB_REDIS_URL=redis_server.url,
            JOB_MONGO_URL=mongo_server.url,
            JOB_MONGO_DATABASE="bench",
            JOB_NAMESPACE="bench",
            JOB_LOG_LEVEL="warning",
        )
        os.environ.update({f"JOB_{name.upper()}": str(value) for name, value in settings.items()})
        config = JobConfig(
            redis_url=SecretStr(redis_server.url),
            mongo_url=SecretStr(mongo_server.url),
            mongo_database="bench",
            namespace="bench",
            **settings,
        )
        database = Database(config, appname="bench")
        redis = redis_client(config.redis_url, kind="command", name="bench")
        queue = RedisJobQueue(redis, namespace=config.namespace)
        state = JobStateManager(database)
        bench = Bench(config, database, state, redis, queue, redis_server, mongo_server)
        await bench.empty()
        try:
            yield bench
        finally:
            await redis.aclose()
            database.close()


async def end_children(children: Sequence[ChildProcess]) -> None:
    """Let children drain and wait for their ends."""
    for child in children:
        child.ask_to_end()
    await asyncio.gather(*(child.ended for child in children))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of `values` lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def report(result: dict[str, Any], rows: Sequence[Sequence[str]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print the result as JSON, or as a table."""
    if as_json:
        print(json.dumps(result))
        return
    table = Table(title=str(result.get("title", result["benchmark"])))
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)
