"""`python -m benchmarks.memory`: bytes of Redis per waiting job, beside stock Dramatiq's message of a no-op actor."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from benchmarks.claim import fill_index
from benchmarks.stores import Bench, bench_stores, report


async def used(bench: Bench) -> int:
    """Redis' own account of its memory."""
    found: dict[str, Any] = await bench.redis.info("memory")
    return int(found["used_memory"])


async def run(jobs: int) -> dict[str, Any]:
    """Fill both, and compare."""
    async with bench_stores() as bench:
        before = await used(bench)
        await fill_index(bench, jobs)
        ours = (await used(bench) - before) / jobs
        await bench.redis.flushall()
        import os

        os.environ["BENCH_REDIS_URL"] = bench.config.redis_url.get_secret_value()
        from benchmarks.stock import noop

        before = await used(bench)
        await asyncio.to_thread(lambda: [noop.send() for _ in range(jobs)])
        stock = (await used(bench) - before) / jobs
    return {
        "benchmark": "memory",
        "title": f"Redis bytes per waiting job, {jobs:,} jobs",
        "jobs": jobs,
        "ours_bytes": round(ours, 1),
        "stock_bytes": round(stock, 1),
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(run(options.jobs))
    rows = [("Headrace", f"{result['ours_bytes']:.0f}"), ("stock Dramatiq", f"{result['stock_bytes']:.0f}")]
    report(result, rows, ("", "bytes per waiting job"), as_json=options.json)


if __name__ == "__main__":
    main()
