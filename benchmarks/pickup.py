"""`python -m benchmarks.pickup`: from the answer to a submission to the start of its job, in an idle pool.

All clocks are this machine's. The start lies between two times that the document has: `claimed_at` (the claim's
update; what is read back starts a moment later) and `started_at` (computed when the settlement is written, from the
measured run time, so it is late by the settlement's own wait). Both are reported.
"""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime
from typing import Any

import aiohttp

from benchmarks.services import run_service
from benchmarks.stores import Bench, bench_stores, end_children, percentile, report
from benchmarks.submit import BODY, SCHEMA
from headrace.contracts.executor import ExecutionPolicy
from headrace.runtime.store.job_types import JobType, JobTypes
from headrace.testing.eventually import eventually


async def measure(bench: Bench, url: str, *, jobs: int, pause: float) -> dict[str, list[float]]:
    """Submit one job after another into the idle pool."""
    await JobTypes(bench.database).register([JobType("noop", ExecutionPolicy(pool="default"), SCHEMA)])
    await bench.complete_pool()
    child = await bench.start_child(slots=10)
    await eventually(lambda: child.board.ready, within=20)
    answered: dict[str, datetime] = {}
    async with aiohttp.ClientSession() as session:
        for _ in range(jobs + 20):
            async with session.post(f"{url}/v1/jobs", json=BODY) as response:
                found = await response.json()
            answered[found["id"]] = datetime.now(UTC)
            await asyncio.sleep(pause)
    await eventually(lambda: child.board.counters()[0] == jobs + 20, within=20)
    await end_children([child])
    took: dict[str, list[float]] = {"claimed": [], "started": []}
    async for document in bench.database.jobs.find({}, {"claimed_at": 1, "started_at": 1}).sort("_id", 1).skip(20):
        for name, times in took.items():
            # A claim may be committed before the client has read its answer; that counts as no wait at all.
            waited = (document[f"{name}_at"] - answered[document["_id"]]).total_seconds() * 1000
            times.append(max(0.0, waited))
    return took


async def run(jobs: int, pause: float) -> dict[str, Any]:
    """Start the scheduler and measure."""
    async with bench_stores() as bench, run_service("scheduler") as (url, _):
        took = await measure(bench, url, jobs=jobs, pause=pause)
    return {
        "benchmark": "pickup",
        "title": f"pick-up in an idle pool, {jobs} jobs, one every {pause * 1000:.0f} ms",
        "jobs": jobs,
        **{
            name: {"p50_ms": round(percentile(times, 0.5), 2), "p99_ms": round(percentile(times, 0.99), 2)}
            for name, times in took.items()
        },
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--pause", type=float, default=0.03, help="seconds between two submissions")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(run(options.jobs, options.pause))
    rows = [
        (f"{name} after the answer", f"{result[name]['p50_ms']:.1f}", f"{result[name]['p99_ms']:.1f}")
        for name in ("claimed", "started")
    ]
    report(result, rows, ("", "p50 ms", "p99 ms"), as_json=options.json)


if __name__ == "__main__":
    main()
