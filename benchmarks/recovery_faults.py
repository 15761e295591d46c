"""The parts of the system as processes, and what is done to them: each fault says how long its repair took."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import psutil

from benchmarks.recovery_flush import POOL
from benchmarks.recovery_load import TYPE
from benchmarks.services import start_process, until_ready
from benchmarks.stores import Bench
from headrace.local.service import ServiceProcess
from headrace.runtime.store.leases import read_lease

HEARTBEAT_SECONDS, LEASE_SECONDS = 1.0, 4.0
LEADER_SECONDS, SWEEP_SECONDS = 4.0, 1.0
RESTART_AFTER_SECONDS = 1.0


@dataclass
class Stage:
    """The services as processes."""

    bench: Bench
    folder: Path
    processes: dict[str, ServiceProcess] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start a service; several of a kind are told apart by a number behind the name."""
        kind = name.rstrip("12")
        self.processes[name] = start_process(kind, self.folder / f"{name}.log")

    async def until_ready(self, session: aiohttp.ClientSession) -> None:
        """All of them."""
        for process in self.processes.values():
            await until_ready(process, session, looks=400)

    async def restart(self, name: str) -> None:
        """A while after its death."""
        await asyncio.sleep(RESTART_AFTER_SECONDS)
        self.start(name)


async def until_owned(bench: Bench, owners: set[str], *, since: datetime) -> float:
    """Seconds until nothing is held by these any more."""
    while await bench.database.jobs.find_one({"owner": {"$in": sorted(owners)}, "state": "processing"}, {"_id": 1}):  # noqa: ASYNC110 -- others do it
        await asyncio.sleep(0.01)
    return (datetime.now(UTC) - since).total_seconds()


async def kill_child(stage: Stage) -> float:
    """SIGKILL the children of the first worker service that serve the pool; its supervisor lives."""
    supervisor = psutil.Process(stage.processes["worker1"].pid)
    held = await _owners_of(stage, "worker1")
    since = datetime.now(UTC)
    for child in supervisor.children():
        child.send_signal(signal.SIGKILL)
    return await until_owned(stage.bench, held, since=since)


async def kill_host(stage: Stage) -> float:
    """SIGKILL a whole worker service: nobody is left to say that it died."""
    held = await _owners_of(stage, "worker2")
    since = datetime.now(UTC)
    processes = [psutil.Process(stage.processes["worker2"].pid)]
    processes += processes[0].children(recursive=True)
    for process in processes:
        process.kill()
    stage.processes["worker2"].kill()
    restarted = asyncio.create_task(stage.restart("worker2"))
    took = await until_owned(stage.bench, held, since=since)
    await restarted
    return took


async def _owners_of(stage: Stage, name: str) -> set[str]:
    """The incarnations of a worker service, by what its log says that it started."""
    text = (stage.folder / f"{name}.log").read_text(encoding="utf-8")
    alive = stage.bench.database.workers.find({"dead_at": None, "pool": POOL}, {"_id": 1})
    return {one["_id"] async for one in alive if one["_id"] in text}


async def kill_leader(stage: Stage) -> float:
    """SIGKILL the recovery that leads; the other one takes over when its lease is over."""
    lease = await read_lease(stage.bench.database, "recovery")
    assert lease is not None
    (name,) = [one for one in ("recovery1", "recovery2") if await _leads(stage.processes[one].url)]
    began = time.monotonic()
    stage.processes[name].kill()
    while (now := await read_lease(stage.bench.database, "recovery")) is None or now.epoch == lease.epoch:  # noqa: ASYNC110 -- as above
        await asyncio.sleep(0.01)
    took = time.monotonic() - began
    await stage.restart(name)
    return took


async def _leads(url: str) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        return "job_recovery_leader 1.0" in await answer.text()


async def empty_redis(stage: Stage) -> float:
    """Kill Redis and start it with nothing; from the moment that it answers."""
    server = stage.bench.redis_server
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.wipe)
    await asyncio.to_thread(server.start)
    began = time.monotonic()
    while True:
        try:
            if await stage.bench.queue.is_complete(POOL):
                return time.monotonic() - began
        except Exception:  # noqa: BLE001 -- connections of the old server
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)


async def stop_worker(stage: Stage) -> float:
    """SIGTERM a worker service: what had not started is ready again, what runs ends or is handed back."""
    held = await _owners_of(stage, "worker1")
    since = datetime.now(UTC)
    stage.processes["worker1"].terminate()
    took = await until_owned(stage.bench, held, since=since)
    while stage.processes["worker1"].exit_code is None:  # noqa: ASYNC110 -- a process ends
        await asyncio.sleep(0.02)
    await stage.restart("worker1")
    return took


async def lose_mongodb(stage: Stage) -> float:
    """Kill MongoDB and start it again; from the moment that it is primary until a submission is accepted."""
    server = stage.bench.mongo_server
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    began = time.monotonic()
    body = {"type": TYPE, "payload": {"seconds": 0}}
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.post(f"{stage.processes['scheduler'].url}/v1/jobs", json=body) as answer:
                if answer.status == 201:
                    return time.monotonic() - began
            await asyncio.sleep(0.02)


async def freeze_child(stage: Stage) -> float:
    """SIGSTOP a child: until its service says that it is not ready. Then it goes on."""
    children = psutil.Process(stage.processes["worker1"].pid).children()
    began = time.monotonic()
    for child in children:
        child.send_signal(signal.SIGSTOP)
    try:
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"{stage.processes['worker1'].url}/readyz") as answer:
                    if answer.status != 200:
                        return time.monotonic() - began
                await asyncio.sleep(0.02)
    finally:
        for child in children:
            child.send_signal(signal.SIGCONT)


Fault = Callable[[Stage], Awaitable[float]]
FAULTS: tuple[tuple[str, str, float, Fault], ...] = (
    ("killed worker process", "until nothing is held by it", 2.0, kill_child),
    ("killed recovery leader", "until the standby leads", LEADER_SECONDS + SWEEP_SECONDS, kill_leader),
    ("Redis restarted empty", "from its first answer until it is whole", 2.0, empty_redis),
    ("MongoDB killed", "from its return until the next accepted submission", 7.0, lose_mongodb),
    ("child that stands still", "until its service says so", 6.0, freeze_child),
    (
        "killed host",
        "until nothing is held by it: lease, sweep, a second",
        LEASE_SECONDS + SWEEP_SECONDS + 1,
        kill_host,
    ),
    ("stopped worker service", "until nothing is held by it; its jobs last half a second", 2.0, stop_worker),
)
