"""`python -m benchmarks.claim`: one claim of 10 ids with 1 k to 1 M ids waiting in three priorities.

The claim is the Redis side, which is what grows with the number of waiting ids; MongoDB's part of a claim depends on
the number claimed alone. Each claim is settled at once, so the number waiting falls by less than a percent.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from benchmarks.stores import Bench, bench_stores, percentile, report
from headrace.contracts.job import Priority, ready_score
from headrace.runtime.process.ids import new_job_id, new_token
from headrace.runtime.queue.base import Entry

PIECE = 1000


async def fill_index(bench: Bench, count: int) -> None:
    """Ids of three priorities, in Redis alone."""
    priorities = list(Priority)
    now_ms = await bench.queue.time_ms()
    for start in range(0, count, PIECE):
        entries = [
            Entry(new_job_id(), ready_score(priorities[i % 3].rank, now_ms + i))
            for i in range(start, min(count, start + PIECE))
        ]
        await bench.queue.enqueue("default", entries)


async def measure(bench: Bench, *, waiting: int, claims: int) -> dict[str, float]:
    """Claim and settle, one after another."""
    await bench.redis.flushall()
    await fill_index(bench, waiting)
    took = []
    for _ in range(claims):
        began = time.perf_counter()
        claim = await bench.queue.claim("default", token=new_token(), count=10)
        took.append((time.perf_counter() - began) * 1000)
        await bench.queue.settle("default", claim.ids)
    return {
        "p50_ms": round(percentile(took, 0.5), 3),
        "p99_ms": round(percentile(took, 0.99), 3),
        "max_ms": round(max(took), 3),
    }


async def run(sizes: list[int], claims: int) -> dict[str, Any]:
    """All sizes."""
    async with bench_stores() as bench:
        return {
            "benchmark": "claim",
            "title": f"{claims} claims of 10 ids",
            "waiting": {size: await measure(bench, waiting=size, claims=min(claims, size // 20)) for size in sizes},
        }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--claims", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(run(options.sizes, options.claims))
    rows = [
        (f"{size:,}", f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", f"{row['max_ms']:.2f}")
        for size, row in result["waiting"].items()
    ]
    report(result, rows, ("waiting", "p50 ms", "p99 ms", "max ms"), as_json=options.json)


if __name__ == "__main__":
    main()
