"""Every part killed and restarted once while jobs are submitted evenly: how long until what it held goes on."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from benchmarks.recovery_faults import FAULTS, HEARTBEAT_SECONDS, LEASE_SECONDS, Stage
from benchmarks.recovery_flush import POOLS, SLOTS
from benchmarks.recovery_load import TYPE
from benchmarks.stores import Bench, bench_stores
from headrace.contracts.states import JobState

JOB_SECONDS = 0.5
DRAIN_SECONDS = 60.0


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
