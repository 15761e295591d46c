"""`python -m benchmarks.pickup`: from the answer to a submission to the start of its job, in an idle pool.

Stock Dramatiq does the same beside it: from the call of `send` to the first line of the actor, which then tells the
time to Redis. Rounds in turns, medians.

All clocks are this machine's. The start lies between two times that the document has: `claimed_at` (the claim's
update; what is read back starts a moment later) and `started_at` (computed when the settlement is written, from the
measured run time, so it is late by the settlement's own wait). Both are reported.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import aiohttp
from redis.asyncio import Redis

from benchmarks.services import run_service
from benchmarks.stock import STARTS, stock_script, stock_workers
from benchmarks.stores import Bench, bench_stores, end_children, median, percentile, report
from benchmarks.submit import BODY, register_noop
from headrace.local.stores import RedisServer
from headrace.testing.eventually import eventually


async def measure(bench: Bench, url: str, *, jobs: int, pause: float) -> dict[str, list[float]]:
    """Submit one job after another into the idle pool."""
    await register_noop(bench)
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


async def measure_stock(redis_url: str, *, jobs: int, pause: float) -> list[float]:
    """Milliseconds from `send` to the start of its actor in an idle worker with 10 threads."""
    client: Any = Redis.from_url(redis_url)
    await client.flushall()
    script = f"for _ in range({jobs + 20}): stamp.send(time.time()); time.sleep({pause})"
    try:
        with stock_workers(redis_url, processes=1, threads=10):
            assert await asyncio.to_thread(stock_script(redis_url, script).wait) == 0

            async def have_started() -> bool:
                return int(await client.llen(STARTS)) == jobs + 20

            await eventually(have_started, within=20)
            return [float(seconds) * 1000 for seconds in await client.lrange(STARTS, 20, -1)]
    finally:
        await client.aclose()


async def run(jobs: int, pause: float, rounds: int) -> dict[str, Any]:
    """Start the scheduler and measure, in turns."""
    found: defaultdict[str, list[list[float]]] = defaultdict(list)
    with RedisServer() as other:
        async with bench_stores() as bench, run_service("scheduler") as (url, _):
            for _ in range(rounds):
                await bench.empty()
                for name, times in (await measure(bench, url, jobs=jobs, pause=pause)).items():
                    found[name].append(times)
                found["stock"].append(await measure_stock(other.url, jobs=jobs, pause=pause))
    return {
        "benchmark": "pickup",
        "title": f"pick-up in an idle pool, {jobs} jobs, one every {pause * 1000:.0f} ms, median of {rounds}",
        "jobs": jobs,
        **{
            name: {
                "p50_ms": round(median([percentile(times, 0.5) for times in runs]), 2),
                "p99_ms": round(median([percentile(times, 0.99) for times in runs]), 2),
            }
            for name, runs in found.items()
        },
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--pause", type=float, default=0.03, help="seconds between two submissions")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    result = asyncio.run(run(options.jobs, options.pause, options.rounds))
    names = {
        "claimed": "claimed after the answer",
        "started": "started after the answer",
        "stock": "stock Dramatiq, started after the call of send",
    }
    rows = [(label, f"{result[name]['p50_ms']:.1f}", f"{result[name]['p99_ms']:.1f}") for name, label in names.items()]
    report(result, rows, ("", "p50 ms", "p99 ms"), as_json=options.json)


if __name__ == "__main__":
    main()
