"""Looks at the running system from outside, around all links, and writes down what it sees."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import psutil
from pydantic import SecretStr
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import HeadraceError
from headrace.local.ports import LOOPBACK
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.database import Database

from .documents import to_document
from .history import Leader, PendingSample, Probe, ResourceSample
from .parts import NAMESPACE, POOL
from .redis_monitor import Reader, watch_redis
from .stack import Stack

PENDING_S = 0.1
PROBE_S = 0.4
LEADER_S = 0.1
OBSERVE_S = 0.7
OBSERVED_AT_ONCE = 20


class Watchers:
    """The watchers of one run; `start`, `stop`, and in between the direct stores for whoever needs them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._recorder = stack.recorder
        self._clock = stack.clock
        redis = stack.redis
        config = JobConfig(mongo_url=SecretStr(stack.replica_set.url), mongo_database=stack.database)
        self.database = Database(config, appname="chaos")
        # Any: the client answers text here, and its types speak of bytes as well.
        self.redis: Any = redis_client(redis.url, kind="command", name="chaos")
        self.queue = RedisJobQueue(self.redis, namespace=NAMESPACE)
        self.reader = Reader(self._recorder)
        self._holder: str | None = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to watch."""
        redis = self.stack.redis
        self._tasks = [
            asyncio.create_task(watch_redis(self.reader, port=redis.port, password=redis.password)),
            asyncio.create_task(_repeat(PENDING_S, self._sample_pending)),
            asyncio.create_task(_repeat(PROBE_S, self._probe)),
            asyncio.create_task(_repeat(LEADER_S, self._see_leader)),
            asyncio.create_task(_repeat(OBSERVE_S, self._observe)),
        ]

    async def stop(self) -> None:
        """End all but the direct stores."""
        while left := [task for task in self._tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1)  # a driver may answer a cancel with an error of its own: once more then

    async def close(self) -> None:
        """Close the direct stores."""
        await self.redis.aclose()
        self.database.close()

    def weigh(self) -> None:
        """Note what each process uses now."""
        for part in self.stack.parts.values():
            pids = {part.name: part.pid} if part.runs else {}
            for number, child in enumerate(self.stack.living_children(part.name)):
                pids[f"{part.name}/child-{number}"] = child.pid
            for name, pid in pids.items():
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(pid)
                    sockets = len(process.net_connections(kind="tcp"))
                    self._recorder.add(
                        "resource", ResourceSample(name, self._clock.now(), process.memory_info().rss, sockets)
                    )

    async def _sample_pending(self) -> None:
        before = await self._is_complete()
        asked = self._clock.now()
        found = await self.database.jobs.count_documents({"pool": POOL, "state": {"$in": ["queued", "processing"]}})
        complete = await self._is_complete() and before
        self._recorder.add("pending", PendingSample(asked, POOL, found, complete))

    async def _is_complete(self) -> bool:
        try:
            return await self.queue.is_complete(POOL)
        except (HeadraceError, RedisError):
            return False

    async def _probe(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            await asyncio.gather(
                *(self._probe_one(session, name, part.port) for name, part in self.stack.parts.items() if part.runs)
            )

    async def _probe_one(self, session: aiohttp.ClientSession, name: str, port: int) -> None:
        try:
            async with session.get(f"http://{LOOPBACK}:{port}/readyz") as response:
                text = "" if response.status == 200 else (await response.text())[:300]
                self._recorder.add("probe", Probe(self._clock.now(), name, response.status == 200, text))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._recorder.add("probe", Probe(self._clock.now(), name, False, type(error).__name__))

    async def _see_leader(self) -> None:
        lease = await self.database.leases.find_one({"_id": "recovery"})
        holder = None
        if lease is not None and lease["until"] > datetime.now(UTC):
            holder = lease["holder"]
        if holder != self._holder:
            self._holder = holder
            self._recorder.add("leader", Leader(self._clock.now(), holder))

    async def _observe(self) -> None:
        since = datetime.now(UTC) - timedelta(seconds=2 * OBSERVE_S)
        cursor = self.database.jobs.find({"updated_at": {"$gt": since}}).limit(OBSERVED_AT_ONCE)
        asked = self._clock.now()
        async for document in cursor:
            self._recorder.add("observed", to_document(document, clock=self._clock, read_at=asked))


async def _repeat(seconds: float, look: Callable[[], Awaitable[Any]]) -> None:
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(3):
                await look()
        except (PyMongoError, HeadraceError, RedisError, TimeoutError, OSError):
            pass  # a store is away: that is what the run is about
        await asyncio.sleep(max(0.02, seconds - (time.monotonic() - began)))
