"""Single services on the shared stores, and a wire that loses replies: smaller than a whole system, and as real."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientSession, web

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import ExecutionPolicy
from headrace.local.ports import LOOPBACK, free_port
from headrace.local.service import ServiceProcess, service_spec
from headrace.recovery.parts import Parts, open_parts
from headrace.runtime.queue import Keys
from headrace.runtime.store.job_types import JobType
from headrace.scheduler.app import build_app
from headrace.testing.eventually import eventually

POOL = "default"
PLACES = ("ready", "delayed", "inflight", "reserved")


@asynccontextmanager
async def open_stores(config: JobConfig) -> AsyncIterator[Parts]:
    """Everything recovery uses, with the type `any` registered and the pool declared complete."""
    parts = open_parts(config)
    try:
        await parts.database.ensure_indexes()
        await parts.job_types.register([JobType("any", ExecutionPolicy(pool=POOL), {})])
        assert await parts.queue.finish_rebuild(POOL, await parts.queue.begin_rebuild(POOL))
        yield parts
    finally:
        await parts.close()


@asynccontextmanager
async def scheduler_here(config: JobConfig) -> AsyncIterator[str]:
    """The scheduler in this process, on a port of its own; its address."""
    runner = web.AppRunner(build_app(config))
    await runner.setup()
    try:
        site = web.TCPSite(runner, LOOPBACK, 0)
        await site.start()
        yield f"http://{LOOPBACK}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def environment(config: JobConfig, **settings: str) -> dict[str, str]:
    """The settings as a process reads them."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JOB_")}
    return {
        **inherited,
        "JOB_REDIS_URL": config.redis_url.get_secret_value(),
        "JOB_MONGO_URL": config.mongo_url.get_secret_value(),
        "JOB_MONGO_DATABASE": config.mongo_database,
        "JOB_NAMESPACE": config.namespace,
        "JOB_QUEUE_SIZE_LIMIT": str(config.queue_size_limit),
        "JOB_TEST_MODE": "1",
        **settings,
    }


@asynccontextmanager
async def scheduler_process(config: JobConfig, log_file: Path, **settings: str) -> AsyncIterator[ServiceProcess]:
    """The scheduler as a process that may be killed; ready."""
    process = ServiceProcess(
        service_spec("scheduler", 8080), port=free_port(), env=environment(config, **settings), log_file=log_file
    )
    try:
        async with ClientSession() as session:
            await eventually(lambda: process.is_ready(session), within=30, every=0.05)
        yield process
    finally:
        process.kill()


async def held_ids(parts: Parts, pool: str = POOL) -> dict[str, list[str]]:
    """Every id in Redis: its sets."""
    found: dict[str, list[str]] = {}
    for place in PLACES:
        cursor = 0
        while True:
            cursor, members = await parts.queue.members(pool, place, cursor=cursor, count=1000)  # type: ignore[arg-type]
            for job_id, _ in members:
                found.setdefault(job_id, []).append(place)
            if cursor == 0:
                break
    return found


async def age(config: JobConfig, parts: Parts, *, seconds: float) -> None:
    """Let places and claims of the pool be older than they are."""
    keys = Keys(config.namespace).pool(POOL)
    past = await parts.queue.time_ms() - int(seconds * 1000)
    for key in (keys.inflight, keys.reserved):
        for job_id in await parts.queue._redis.zrange(key, 0, -1):
            await parts.queue._redis.zadd(key, {job_id: past})


class LosingWire:
    """A TCP proxy that passes each request on, waits for the reply, and then may lose it.

    Args:
        port: Of the server.
        loses: Asked once per connection.
    """

    def __init__(self, port: int, loses: Callable[[], bool]) -> None:
        self._port = port
        self._loses = loses
        self.lost = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve; the address."""
        server = await asyncio.start_server(self._pass, LOOPBACK, 0)
        try:
            yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        assert own is not None
        self._tasks.add(own)
        up_reader, up_writer = await asyncio.open_connection(LOOPBACK, self._port)
        asking = asyncio.create_task(self._requests(reader, up_writer))
        loses = self._loses()
        try:
            while data := await up_reader.read(1 << 16):
                if loses:
                    self.lost += 1
                    break
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            asking.cancel()
            writer.close()
            up_writer.close()
            self._tasks.discard(own)

    async def _requests(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
            sink.close()
        except ConnectionError:
            return
