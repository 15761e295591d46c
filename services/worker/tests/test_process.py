"""`python -m headrace.worker` as an operator runs it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from worker_plugins import write_plugin
from worker_stage import open_stage

from headrace.contracts.config import JobConfig
from headrace.local.ports import free_port
from headrace.local.stores import MongoServer, RedisServer
from headrace.testing.eventually import eventually

SERVING = 60


class Service:
    """The process, its log, and its address."""

    def __init__(self, log: Path, **settings: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOB_")}
        self._log = log
        defaults = {"JOB_HTTP_PORT": "0", "JOB_MAX_WORKERS": "2", "JOB_SHUTDOWN_GRACE_SECONDS": "3"}
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headrace.worker"], env=kept | defaults | settings, stdout=file, stderr=file
            )

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def events(self, name: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == name]

    async def url(self) -> str:
        ready = await eventually(lambda: self.events("service.ready"), within=SERVING, what="the service")
        return str(ready[0]["url"])

    async def ended(self, *, within: float = 60) -> int:
        await eventually(lambda: self.process.poll() is not None, within=within, what="the end of the process")
        return int(self.process.returncode)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Any]:
    started: list[Service] = []

    def start(**settings: str) -> Service:
        started.append(Service(tmp_path / f"log-{len(started)}", **settings))
        return started[-1]

    yield start
    for service in started:
        service.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_wrong_setting_is_one_clear_line(run: Any) -> None:
    service = run(JOB_MAX_WORKRS="3")
    assert await service.ended() == 2
    assert service.output.strip().splitlines() == [
        "headrace-worker: JOB_MAX_WORKRS is not a setting; did you mean JOB_MAX_WORKERS?"
    ]


async def test_a_port_in_use_is_one_clear_line(run: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        service = run(JOB_HTTP_PORT=str(port))
        assert await service.ended() == 2
    (line,) = [line for line in service.output.splitlines() if line]
    assert line.startswith("headrace-worker: ")
    assert str(port) in line


async def test_a_broken_plug_in_is_one_clear_line_and_the_service_does_not_start(run: Any, tmp_path: Path) -> None:
    write_plugin(tmp_path, "raise ImportError('libnothing.so is missing')", {"good": "Good"})
    service = run(PYTHONPATH=str(tmp_path))
    assert await service.ended() == 2
    assert "Traceback" not in service.output
    assert service.output.strip().splitlines()[-1] == (
        "headrace-worker: executor 'good' (plug_module:Good) cannot be imported: ImportError: libnothing.so is missing"
    )


async def test_without_stores_it_starts_says_so_and_works_as_soon_as_they_come(
    run: Any,
    http: aiohttp.ClientSession,
) -> None:
    mongo = MongoServer(port=free_port(), test_commands=True)
    redis = RedisServer(port=free_port())
    service = run(
        JOB_MONGO_URL=f"{mongo.url}", JOB_REDIS_URL=redis.url, JOB_WORKER_HEARTBEAT_SECONDS="1", JOB_LEASE_SECONDS="5"
    )
    try:
        url = await service.url()
        async with http.get(f"{url}/healthz") as answer:
            assert answer.status == 200
        async with http.get(f"{url}/readyz") as answer:
            assert answer.status == 503
            checks = (await answer.json())["checks"]
            assert {name: check["ok"] for name, check in checks.items()} == {
                "redis": False,
                "mongo": False,
                "children": False,
            }
        await asyncio.gather(asyncio.to_thread(mongo.start), asyncio.to_thread(redis.start))

        async def ready() -> bool:
            async with http.get(f"{url}/readyz") as answer:
                return answer.status == 200

        await eventually(ready, within=SERVING, every=0.1)
        own = JobConfig(mongo_url=mongo.url, redis_url=redis.url)  # type: ignore[arg-type]
        async with open_stage(own, mongo) as stage:
            (job,) = await stage.submit()
            await eventually(lambda: stage.in_state(job, "completed"))

        async def counted() -> bool:
            async with http.get(f"{url}/metrics") as answer:
                return 'job_attempts_settled_total{outcome="completed"} 1.0' in await answer.text()

        await eventually(counted)
        service.process.send_signal(signal.SIGTERM)
        assert await service.ended() == 0
        async with open_stage(own, mongo) as stage:
            assert await stage.incarnations.alive() == [], "every child has said goodbye"
    finally:
        service.close()
        await asyncio.to_thread(mongo.close)
        await asyncio.to_thread(redis.close)
    assert "Traceback" not in service.output
    assert service.events("service.stopped")


async def test_sigterm_without_stores_ends_it_in_order(run: Any) -> None:
    service = run(
        JOB_MONGO_URL=f"mongodb://127.0.0.1:{free_port()}/?replicaSet=rs0",
        JOB_REDIS_URL=f"redis://127.0.0.1:{free_port()}",
    )
    await service.url()
    service.process.send_signal(signal.SIGTERM)
    assert await service.ended() == 0
    assert "Traceback" not in service.output


async def test_hazard_21_a_redis_that_evicts_is_one_clear_line_and_the_service_does_not_start(
    run: Any, config: JobConfig
) -> None:
    with RedisServer(settings={"maxmemory-policy": "allkeys-lru"}) as evicting:
        service = run(JOB_REDIS_URL=evicting.url, JOB_MONGO_URL=config.mongo_url.get_secret_value())
        assert await service.ended() == 2
    assert "Traceback" not in service.output
    assert service.output.strip().splitlines()[-1].startswith("headrace-worker: Redis must run with maxmemory-policy")
    assert not service.events("child.started")
