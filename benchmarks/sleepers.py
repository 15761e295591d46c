"""`python -m benchmarks.sleepers`: jobs that sleep 100 ms, a hundred at a time, in one worker service.

Also: process start to first claim, and the memory of a supervisor with one idle child. Every round starts the service
anew, on stores that are empty but for the waiting jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.stores import Bench, bench_stores, median, report
from headrace.runtime.queue.base import Entry
from headrace.testing.builders import make_job

POOL, TYPE = "test", "test.sleep"
POOLS = """
[pools.crawl]
max_slots = 0
[pools.default]
max_slots = 0
[pools.test]
min_slots = {slots}
slots_per_process = {slots}
"""


async def fill(bench: Bench, count: int, seconds: float) -> float:
    """Store jobs, then let them wait; since when they do."""
    payload = json.dumps({"seconds": seconds})
    jobs = [make_job(type=TYPE, pool=POOL, payload=payload) for _ in range(count)]
    await bench.state.insert(jobs)
    began = time.perf_counter()
    await bench.queue.enqueue(POOL, [Entry(job.id, job.ready_score) for job in jobs])
    return began


async def until(bench: Bench, drained: int) -> float:
    """When so many jobs had ended."""
    while await bench.queue.drained(POOL) < drained:  # noqa: ASYNC110 -- another process does it
        await asyncio.sleep(0.002)
    return time.perf_counter()


async def one_round(bench: Bench, *, jobs: int, seconds: float) -> dict[str, float]:
    """Start, first claim, rest, then the jobs: from the moment they wait to the last one's end in both stores."""
    await bench.empty()
    await fill(bench, 1, 0.0)
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "headrace.worker"], env=dict(os.environ))  # noqa: ASYNC220 -- nothing else runs on this loop
    try:
        while not await bench.database.jobs.find_one({"attempt": {"$gt": 0}}, {"_id": 1}):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        first = time.perf_counter() - began
        await until(bench, 1)
        await asyncio.sleep(2)
        parent = psutil.Process(process.pid)
        memory = sum(one.memory_info().rss for one in (parent, *parent.children(recursive=True)))
        began = await fill(bench, jobs, seconds)
        took = await until(bench, jobs + 1) - began
    finally:
        process.terminate()
        process.wait(30)
    return {"first_claim_seconds": first, "memory_mb": memory / 1e6, "seconds": took}


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rounds."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "pools.toml"
        file.write_text(POOLS.format(slots=options.slots))
        async with bench_stores(max_workers=options.slots) as bench:
            os.environ.update(JOB_TEST_MODE="1", JOB_POOLS_FILE=str(file), JOB_HTTP_PORT="0")
            rounds = [
                await one_round(bench, jobs=options.jobs, seconds=options.job_seconds) for _ in range(options.rounds)
            ]
    return {
        "benchmark": "sleepers",
        "title": f"{options.jobs} jobs of {options.job_seconds:g} s, {options.slots} at a time",
        "rounds": rounds,
        **{name: round(median([item[name] for item in rounds]), 3) for name in rounds[0]},
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--job-seconds", type=float, default=0.1)
    parser.add_argument("--slots", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    result = asyncio.run(run(options))
    rows = [
        (name.replace("_", " "), f"{result[name]:g}", ", ".join(f"{item[name]:.3g}" for item in result["rounds"]))
        for name in result["rounds"][0]
    ]
    report(result, rows, ("", "median", "every round"), as_json=options.json)


if __name__ == "__main__":
    main()
