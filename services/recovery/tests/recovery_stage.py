"""Recovery's duties on real stores: bring about a state, run a duty once, look at the state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from redis.asyncio import Redis

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import ExecutionPolicy
from headrace.contracts.heartbeat import ExitRecord
from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.recovery.ghosts import Suspects
from headrace.recovery.mend import Mender
from headrace.recovery.parts import Parts, open_parts
from headrace.recovery.pools import Pools
from headrace.runtime.queue import Entry, Keys, Located, redis_client
from headrace.runtime.store.job_types import JobType
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually

POOL = "default"
LONG_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)


class Stage:
    """Everything a test needs to set the scene."""

    def __init__(self, parts: Parts, redis: Redis, config: JobConfig) -> None:
        self.parts = parts
        self.redis = redis
        self.keys = Keys(config.namespace).pool(POOL)
        self.pools = Pools(parts)
        self.suspects = Suspects()
        self.mender = Mender(parts, self.suspects)

    async def store(self, *jobs: Job) -> None:
        """Insert job documents as they are."""
        await self.parts.jobs.insert(jobs)

    async def job(self, **fields: Any) -> Job:
        """Insert one job; its last change is long ago unless said otherwise."""
        job = make_job(**{"updated_at": LONG_AGO} | fields)
        await self.store(job)
        return job

    async def running(self, owner: str = "w-1", **fields: Any) -> Job:
        """Insert one running job, claimed long ago and not beyond its time."""
        values = {"state": JobState.PROCESSING, "attempt": 1, "owner": owner, "claim_token": "t1"}
        values |= {"timeout_seconds": 3600}
        return await self.job(**values | {"claimed_at": LONG_AGO} | fields)

    async def worker(self, name: str = "w-1", *, lease_seconds: float = 60, types: tuple[str, ...] = ("noop",)) -> None:
        """Register an incarnation."""
        await self.parts.incarnations.register(
            name,
            service="s",
            host="h",
            pool=POOL,
            types=types,
            slots=1,
            version="0",
            lease_seconds=lease_seconds,
        )

    async def die(self, name: str = "w-1", *, running: tuple[str, ...] = (), culprit: str | None = None) -> None:
        """Mark an incarnation dead as its supervisor would."""
        record = ExitRecord(kind="signal", signal=9)
        await self.parts.incarnations.mark_dead(name, exit_record=record, running=running, culprit=culprit)

    async def enqueue(self, *jobs: Job) -> None:
        """Let ids wait as their documents say."""
        await self.parts.queue.enqueue(POOL, [Entry(job.id, job.ready_score, job.run_at_ms) for job in jobs])

    async def in_flight(self, job_id: str, *, seconds_ago: float, token: str | None = "t1") -> None:
        """Put an id in flight."""
        claimed = await self.parts.queue.time_ms() - int(seconds_ago * 1000)
        await self.redis.zadd(self.keys.inflight, {job_id: claimed})
        if token:
            await self.redis.hset(self.keys.holder, job_id, token)  # type: ignore[misc]

    async def complete(self, pool: str = POOL) -> None:
        """Declare the pool complete, whatever is there."""
        marker = await self.parts.queue.begin_rebuild(pool)
        assert await self.parts.queue.finish_rebuild(pool, marker)

    async def know_pool(self, pool: str = POOL) -> None:
        """Register a type, so that the pool is known without a pending job."""
        await self.parts.job_types.register([JobType("noop", ExecutionPolicy(pool=pool), {})])

    async def where(self, job_id: str, pool: str = POOL) -> Located:
        """Where an id is in Redis."""
        [located] = await self.parts.queue.locate(pool, [job_id])
        return located

    async def document(self, job_id: str) -> Job:
        """A job as it is stored."""
        return await self.parts.reads.job(job_id)

    async def held_ids(self, pool: str = POOL) -> dict[str, str]:
        """Every id in Redis → its set; fails when one is in two."""
        keys = Keys(self.parts.config.namespace).pool(pool)
        found: dict[str, str] = {}
        for name, key in (("ready", keys.ready), ("delayed", keys.delayed), ("inflight", keys.inflight)):
            for job_id in await self.redis.zrange(key, 0, -1):
                assert job_id not in found, f"{job_id} is in {found[job_id]} and {name}"
                found[job_id] = name
        return found


@asynccontextmanager
async def open_stage(config: JobConfig) -> AsyncIterator[Stage]:
    """The scene on any stores."""
    parts = open_parts(config)
    redis = redis_client(config.redis_url, kind="command", name="test")
    try:
        await parts.database.ensure_indexes()
        yield Stage(parts, redis, config)
    finally:
        await redis.aclose()
        await parts.close()


class Process:
    """`python -m headrace.recovery` as an operator runs it."""

    def __init__(self, config: JobConfig, log: Path, *arguments: str, **extra: str) -> None:
        keep = {name: value for name, value in os.environ.items() if not name.startswith("JOB_")}
        settings = {
            "JOB_REDIS_URL": config.redis_url.get_secret_value(),
            "JOB_MONGO_URL": config.mongo_url.get_secret_value(),
            "JOB_MONGO_DATABASE": config.mongo_database,
            "JOB_NAMESPACE": config.namespace,
            "JOB_HTTP_PORT": "0",
            "JOB_TEST_MODE": "1",
        }
        self._log = log
        self._command = [sys.executable, "-m", "headrace.recovery", *arguments]
        self._environment = keep | settings | extra
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; what it logs goes to the file."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stderr=log, stdout=log)
        return self

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log lines with this event."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == name]

    def url(self) -> str:
        """Where it listens, or "" while it does not."""
        found = self.events("service.ready")
        return str(found[-1]["url"]) if found else ""

    @property
    def code(self) -> int | None:
        """Its exit code, or None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Signal it."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; returns the exit code, 137 for a failpoint that died as by SIGKILL."""
        await eventually(lambda: self.code is not None, within=20)
        return int(self.code or 0)

    def close(self) -> None:
        """End it for certain."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
