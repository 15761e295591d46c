"""The monitor on real stores, a scheduler that answers what a test says, and a world to look at."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import ExecutionPolicy
from headrace.contracts.heartbeat import ChildBeat, ExitRecord, Heartbeat
from headrace.contracts.job import Job, JobError
from headrace.contracts.states import JobState, Reason
from headrace.monitor.app import build_app
from headrace.runtime.queue import Entry, Hints, Keys, RedisJobQueue, redis_client
from headrace.runtime.store.database import Database
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.job_types import JobType, JobTypes
from headrace.runtime.store.leases import LeaderLease
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import Settlement
from headrace.testing.builders import make_job

# Test folders are no packages, so what the test files share is found by its folder.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("monitor_pages")


@pytest.fixture(autouse=True)
def plain_tracebacks() -> Iterator[None]:
    """Drawing a traceback with all its locals takes seconds, and answers are measured here."""
    before = structlog.get_config()
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*before["processors"][:-1], plain])
    yield
    structlog.configure(**before)


@dataclass
class FakeScheduler:
    """A scheduler's `/readyz` and what actions ask of it, as the test wants it.

    The real one is behind the browser in `tests/e2e`; here it is what it is told, and what it answers, that counts.
    """

    status: int = 200
    body: str = '{"status": "ready", "checks": {}}'
    asked: int = 0
    gate: asyncio.Event | None = None
    """`/readyz` waits for it."""
    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    """By the end of the path: the body, or (status, body)."""
    calls: list[tuple[str, str, Any, str | None]] = field(default_factory=list)
    """Method, path, body and Authorization of every other request."""

    async def anything(self, request: web.Request) -> web.Response:
        text = await request.text()
        body = json.loads(text) if text else None
        self.calls.append((request.method, request.path, body, request.headers.get("Authorization")))
        answer = next((told for end, told in self.answers.items() if request.path.endswith(end)), {})
        status, told = answer if isinstance(answer, tuple) else (200, answer)
        return web.json_response(told, status=status)

    async def readyz(self, _request: web.Request) -> web.Response:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        return web.Response(status=self.status, text=self.body)

    def not_ready(self, **failing: str) -> None:
        self.status = 503
        checks = {name: {"ok": False, "detail": detail} for name, detail in failing.items()}
        self.body = json.dumps({"status": "not-ready", "checks": checks})


@pytest.fixture
async def scheduler() -> AsyncIterator[FakeScheduler]:
    fake = FakeScheduler()
    app = web.Application()
    app.router.add_get("/readyz", fake.readyz)
    app.router.add_route("*", "/v1/{rest:.*}", fake.anything)
    async with TestServer(app) as server:
        fake.url = str(server.make_url(""))
        yield fake


class World:
    """Jobs, pools and workers in the stores of a configuration."""

    def __init__(self, config: JobConfig) -> None:
        self.config = config
        self.database = Database(config, appname="monitor-test")
        self.jobs = JobStateManager(self.database, retention_days=1, dead_retention_days=0)
        self.incarnations = Incarnations(self.database)
        redis = redis_client(config.redis_url, kind="command", name="monitor-test")
        self.queue = RedisJobQueue(redis, namespace=config.namespace)
        self.hints = Hints(redis, config.namespace)

    async def pool(self, name: str, *, complete: bool = True) -> None:
        policy = ExecutionPolicy(pool=name)
        await JobTypes(self.database).register([JobType(type=f"{name}-job", policy=policy, payload_schema={})])
        if complete:
            await self.queue.finish_rebuild(name, await self.queue.begin_rebuild(name))

    async def put(self, **fields: Any) -> Job:
        job = make_job(**fields)
        await self.jobs.insert([job])
        return job

    async def wait_in(self, pool: str, *jobs: Job, due_ms: int = 0) -> None:
        await self.queue.enqueue(pool, [Entry(job.id, job.ready_score, due_ms) for job in jobs])

    async def run(self, job: Job) -> Job:
        (claimed,) = await self.jobs.claim([job.id], token="t-" + job.id, owner="w-1", types=[job.type])
        return claimed

    async def fail(self, job: Job, message: str) -> None:
        claimed = await self.run(job)
        error = JobError(type="ValueError", message=message, fingerprint="f", at=datetime.now(UTC))
        settlement = Settlement(claimed.id, claimed.attempt, JobState.FAILED, Reason.FAILED, error=error)
        await self.jobs.settle([settlement], by="w-1")

    async def beat(
        self, *, host: str = "host-a", pid: int = 7, pool: str = "crawl", busy: int = 1, seconds_ago: float = 0
    ) -> str:
        incarnation = f"w-{host}-{pid}"
        await self.incarnations.register(
            incarnation, service="worker", host=host, pool=pool, types=[], slots=4, version="0.1", lease_seconds=90
        )
        child = ChildBeat(
            incarnation=incarnation, pid=pid + 1, pool=pool, slots=4, busy=busy, rss_bytes=1, cpu_seconds=0
        )
        at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        beat = Heartbeat(
            service="worker", host=host, pid=pid, version="0.1", at=at, slots=4, busy=busy, children=(child,)
        )
        assert await self.hints.beat(beat)
        if seconds_ago:  # Redis says how old it is
            seen = {f"{host}:{pid}:worker": int(at.timestamp() * 1000)}
            await self.queue._redis.zadd(Keys(self.config.namespace).beats_seen, seen)
        return incarnation

    async def end(self, incarnation: str, kind: str) -> None:
        await self.incarnations.mark_dead(incarnation, exit_record=ExitRecord(kind=kind), running=[])

    async def lead(self, holder: str = "recovery-1") -> int | None:
        return await LeaderLease(self.database, name="recovery", holder=holder, seconds=30).acquire()

    async def healthy(self) -> None:
        await self.pool("crawl")
        await self.beat()
        await self.lead()

    async def close(self) -> None:
        await self.queue.close()
        self.database.close()


@pytest.fixture
async def make_world(config: JobConfig, scheduler: FakeScheduler) -> AsyncIterator[Callable[..., World]]:
    """Worlds on the shared stores, or wherever `changes` of the settings say."""
    worlds = []

    def make(**changes: Any) -> World:
        worlds.append(World(config.model_copy(update={"scheduler_url": scheduler.url} | changes)))
        return worlds[-1]

    yield make
    for world in worlds:
        await world.close()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[JobConfig], Awaitable[TestClient]]]:
    """Monitors with these settings."""
    clients = []

    async def start(config: JobConfig) -> TestClient:
        clients.append(TestClient(TestServer(await build_app(config))))
        await clients[-1].start_server()
        return clients[-1]

    yield start
    for client in clients:
        await client.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture
async def monitor(world: World, serve: Callable[[JobConfig], Awaitable[TestClient]]) -> TestClient:
    return await serve(world.config)
