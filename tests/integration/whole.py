"""The system under test, with handles on its parts that a test may break."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psutil
from pydantic import SecretStr

from headrace.client.aio import Client
from headrace.contracts.config import JobConfig
from headrace.contracts.states import TERMINAL, is_legal
from headrace.local.service import ServiceProcess
from headrace.local.system import LocalSystem
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.database import Database
from headrace.testing.eventually import eventually

DEFAULTS = {
    "JOB_TEST_MODE": "1",
    "JOB_WORKER_HEARTBEAT_SECONDS": "1",
    "JOB_LEASE_SECONDS": "4",
    "JOB_RECOVERY_INTERVAL_SECONDS": "5",
    "JOB_SHUTDOWN_GRACE_SECONDS": "5",
    "JOB_CRAWL_ALLOW_PRIVATE": "1",
}


@dataclass
class Whole:
    """A running system."""

    system: LocalSystem
    client: Client
    database: Database
    queue: RedisJobQueue
    redis: Any

    def service(self, name: str) -> ServiceProcess:
        """One of the four services."""
        return next(service for service in self.system._services if service.name == name)

    def children(self, pool: str) -> list[int]:
        """The worker children of a pool, by process id."""
        found = []
        for process in psutil.Process(self.service("worker").pid).children():
            try:
                spec = json.loads(process.environ().get("HEADRACE_CHILD", "{}"))
            except (psutil.Error, OSError):
                continue
            if spec.get("pool") == pool and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        return found

    def kill_child(self, pool: str) -> int:
        """SIGKILL the children of a pool; returns how many."""
        pids = self.children(pool)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return len(pids)

    async def document(self, job_id: str) -> dict[str, Any]:
        """The stored document."""
        found: dict[str, Any] = await self.database.jobs.find_one({"_id": job_id})
        return found

    async def state(self, job_id: str) -> str:
        """The stored state."""
        return str((await self.document(job_id))["state"])

    async def until_state(self, job_id: str, state: str, *, within: float = 20.0) -> None:
        """Wait for a state."""

        async def probe() -> bool:
            current = await self.state(job_id)
            assert current == state, current
            return True

        await eventually(probe, within=within, what=f"{job_id} is {state}")

    async def assert_sound(self, *job_ids: str) -> None:
        """Every step legal, numbered without a gap; the attempt rises at claims only; one terminal entry, last."""
        for job_id in job_ids:
            assert_sound_log(await self.document(job_id))

    async def until_redis_agrees(self, pool: str, *, within: float = 20.0) -> None:
        """Wait until Redis holds exactly the jobs of the pool that are not over, each once."""

        async def probe() -> bool:
            pending = {
                document["_id"]
                async for document in self.database.jobs.find(
                    {"pool": pool, "state": {"$in": ["queued", "processing"]}}, {"_id": 1}
                )
            }
            held: list[str] = []
            for place in ("ready", "delayed", "inflight", "reserved"):
                cursor = 0
                while True:
                    cursor, members = await self.queue.members(pool, place, cursor=cursor, count=500)
                    held += [member for member, _ in members]
                    if cursor == 0:
                        break
            assert sorted(held) == sorted(pending), (len(held), len(pending))
            return True

        await eventually(probe, within=within, what="Redis and MongoDB agree")


StartWhole = Callable[..., Awaitable[Whole]]
"""Start a system with settings of the caller's own."""


def assert_sound_log(document: dict[str, Any]) -> None:
    """See `Whole.assert_sound`."""
    log = document["log"]
    before, attempt = None, 0
    for number, entry in enumerate(log, start=document["log_dropped"]):
        assert entry["seq"] == number, log
        assert number == 0 or entry["from"] == before, log
        assert is_legal(entry["from"], entry["to"]), entry
        claimed = entry["to"] == "processing"
        assert entry["attempt"] == attempt + (1 if claimed else 0), log
        before, attempt = entry["to"], entry["attempt"]
    assert before == document["state"], log
    assert attempt == document["attempt"]
    assert sum(1 for entry in log if entry["to"] in TERMINAL) == (1 if document["state"] in TERMINAL else 0), log


@asynccontextmanager
async def start_whole(settings: Mapping[str, str]) -> AsyncIterator[Whole]:
    """Start everything, and stop everything."""
    system = LocalSystem(settings={**DEFAULTS, **settings})
    try:
        await system.start()
        config = JobConfig(redis_url=SecretStr(system.redis.url), mongo_url=SecretStr(system.mongo.url))
        redis = redis_client(system.redis.url, kind="command", name="test")
        database = Database(config, appname="test")
        async with Client(system.urls["scheduler"], timeout_seconds=10) as client:
            yield Whole(system, client, database, RedisJobQueue(redis, namespace="headrace"), redis)
        await redis.aclose()
        database.close()
    except BaseException:
        for log in sorted((system.folder / "logs").glob("*.log")):
            print(f"----- {log.name}\n{log.read_text(errors='replace')[-4000:]}")
        raise
    finally:
        await system.stop()
