"""Who submits while recovery is measured: in batches, and one by one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.stores import percentile

TYPE = "test.sleep"
JOB_SECONDS = 0.1
BATCH_SECONDS = 0.1
SINGLE_CLIENTS = 8


@dataclass
class Singles:
    """Submissions one by one: when each was accepted, and how long it took."""

    accepted: list[tuple[float, float]] = field(default_factory=list)
    refused: int = 0

    def within(self, windows: Sequence[tuple[float, float]]) -> dict[str, float]:
        """Rate and times of those accepted within these times."""
        took = [seconds for at, seconds in self.accepted if any(began <= at < ended for began, ended in windows)]
        length = sum(ended - began for began, ended in windows)
        return {
            "rate": round(len(took) / length, 1),
            "p50_ms": round(percentile(took, 0.5) * 1000, 1) if took else 0.0,
            "worst_ms": round(max(took, default=0.0) * 1000, 1),
        }


@asynccontextmanager
async def _beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let them go on meanwhile; one that has failed by the end fails this."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def single_producer(url: str, *, rate: float) -> AsyncIterator[Singles]:
    """Submit jobs over HTTP one by one, at this rate or as fast as `SINGLE_CLIENTS` can that wait."""
    found = Singles()
    body = {"type": TYPE, "payload": {"seconds": JOB_SECONDS}}

    async def submit() -> None:
        async with aiohttp.ClientSession() as session:
            due = time.monotonic()
            while True:
                due = max(due + SINGLE_CLIENTS / rate, time.monotonic() - 1.0)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                began = time.monotonic()
                async with session.post(f"{url}/v1/jobs", json=body) as response:
                    await response.read()
                    if response.status in (201, 202):
                        found.accepted.append((time.monotonic(), time.monotonic() - began))
                    else:
                        found.refused += 1

    async with _beside(*(submit() for _ in range(SINGLE_CLIENTS if rate else 0))):
        yield found


@asynccontextmanager
async def producer(url: str, *, rate: float) -> AsyncIterator[dict[str, int]]:
    """Submit jobs over HTTP all the time, in batches; the answers by status."""
    answers: dict[str, int] = {"accepted": 0, "other": 0}
    job = {"type": TYPE, "payload": {"seconds": JOB_SECONDS}}
    body = {"jobs": [job] * max(1, round(rate * BATCH_SECONDS))}

    async def submit() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                began = time.monotonic()
                async with session.post(f"{url}/v1/jobs/batch", json=body) as response:
                    found = await response.json()
                for item in found.get("results", body["jobs"]):
                    answers["accepted" if item.get("status") in (201, 202) else "other"] += 1
                await asyncio.sleep(max(0.0, began + BATCH_SECONDS - time.monotonic()))

    async with _beside(submit()):
        yield answers
