"""Every part killed and restarted once while jobs are submitted evenly: how long until what it held goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import psutil

from benchmarks.recovery_flush import POOL, POOLS, SLOTS
from benchmarks.recovery_load import TYPE
from benchmarks.services import start_process, until_ready
from benchmarks.stores import Bench, bench_stores
from headrace.contracts.states import JobState
from headrace.local.service import ServiceProcess
from headrace.runtime.store.leases import read_lease

JOB_SECONDS = 0.5
HEARTBEAT_SECONDS, LEASE_SECONDS = 1.0, 4.0
LEADER_SECONDS, SWEEP_SECONDS = 4.0, 1.0
DRAIN_SECONDS = 60.0
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


async def submit_evenly(url: str, *, jobs: int, interval: float) -> list[str]:
    """One request after another over the interval; a request that gets no 2xx is repeated with its key."""
    ids: list[str] = []
    began = time.monotonic()
    async with aiohttp.ClientSession() as session:
        for number in range(jobs):
            await asyncio.sleep(max(0.0, began + number * interval / jobs - time.monotonic()))
            body = {"type": TYPE, "payload": {"seconds": JOB_SECONDS}}
            for _ in range(200):
                headers = {"Idempotency-Key": f"bench-{number}"}
                async with session.post(f"{url}/v1/jobs", json=body, headers=headers) as answer:
                    if answer.status < 300:
                        ids.append((await answer.json())["id"])
                        break
                await asyncio.sleep(0.05)
    return ids


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


Fault = Callable[[Stage], Awaitable[float]]
FAULTS: tuple[tuple[str, str, float, Fault], ...] = (
    ("killed worker process", "until nothing is held by it", 2.0, kill_child),
    ("killed recovery leader", "until the standby leads", LEADER_SECONDS + SWEEP_SECONDS, kill_leader),
    ("Redis restarted empty", "from its first answer until it is whole", 2.0, empty_redis),
    (
        "killed host",
        "until nothing is held by it: lease, sweep, a second",
        LEASE_SECONDS + SWEEP_SECONDS + 1,
        kill_host,
    ),
    ("stopped worker service", "until nothing is held by it; its jobs last half a second", 2.0, stop_worker),
)


async def run(*, jobs: int, interval: float) -> dict[str, Any]:
    """Submit over the interval, break one thing after another, wait for every job."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        (folder / "pools.toml").write_text(POOLS)
        settings = {"worker_heartbeat_seconds": HEARTBEAT_SECONDS, "lease_seconds": LEASE_SECONDS}
        bench = await stack.enter_async_context(
            bench_stores(queue_size_limit=jobs + 100, max_workers=SLOTS, **settings)
        )
        os.environ.update(JOB_TEST_MODE="1", JOB_POOLS_FILE=str(folder / "pools.toml"), JOB_LOG_LEVEL="info")
        stage = Stage(bench, folder)
        try:
            for name in ("scheduler", "worker1", "worker2", "recovery1", "recovery2"):
                stage.start(name)
            async with aiohttp.ClientSession() as session:
                await stage.until_ready(session)
            url = stage.processes["scheduler"].url
            submitting = asyncio.create_task(submit_evenly(url, jobs=jobs, interval=interval))
            took = await _break_everything(stage, interval)
            ids = await submitting
            states = await _until_over(bench, ids)
        finally:
            for process in stage.processes.values():
                process.terminate()
            await asyncio.sleep(2)
            for process in stage.processes.values():
                process.kill()
    return {
        "benchmark": "recovery",
        "title": f"{jobs} jobs of {JOB_SECONDS:g} s over {interval:g} s, every part killed and restarted once",
        "jobs": jobs,
        "accepted": len(ids),
        "states": states,
        "lost": len(ids) - sum(count for state, count in states.items() if JobState(state).is_terminal),
        "took": [
            {"fault": name, "seconds": round(seconds, 3), "bound_seconds": bound, "what": what}
            for (name, what, bound, _), seconds in zip(FAULTS, took, strict=True)
        ],
    }


async def _break_everything(stage: Stage, interval: float) -> list[float]:
    began, took = time.monotonic(), []
    for number, (_, _, _, fault) in enumerate(FAULTS):
        at = began + interval * (number + 0.5) / (len(FAULTS) + 0.5)
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        took.append(await asyncio.wait_for(fault(stage), timeout=60))
    return took


async def _until_over(bench: Bench, ids: list[str]) -> dict[str, int]:
    deadline = time.monotonic() + DRAIN_SECONDS
    while True:
        cursor = bench.database.jobs.aggregate(
            [{"$match": {"_id": {"$in": ids}}}, {"$group": {"_id": "$state", "n": {"$sum": 1}}}]
        )
        states = {one["_id"]: one["n"] async for one in cursor}
        if time.monotonic() > deadline or not states.keys() & {"queued", "processing"}:
            return states
        await asyncio.sleep(0.2)


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """For the table."""
    found = [
        (item["fault"], f"{item['seconds']:.2f} s", f"{item['bound_seconds']:g} s", item["what"])
        for item in result["took"]
    ]
    states = ", ".join(f"{count} {state}" for state, count in sorted(result["states"].items()))
    return [*found, ("lost", str(result["lost"]), "0", f"{result['accepted']} accepted: {states}")]
