"""`python -m benchmarks.job_queue`: the whole way of no-op jobs, from the first submission to the last end.

Ours: HTTP in batches to a scheduler, MongoDB majority-durable, Redis, one child with as many slots as `--workers`.
Stock: Dramatiq's `send` into its RedisBroker and one worker process with as many threads. The workers are up before the
first job is sent, and take jobs while others still come. In turns (A B A B …), medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp
from redis.asyncio import Redis

from benchmarks.measure import cpu_seconds
from benchmarks.services import run_service
from benchmarks.stock import MESSAGES, stock_script, stock_workers
from benchmarks.stores import Bench, bench_stores, end_children, median, percentile, report
from benchmarks.submit import BODY, JSON_TYPE, register_noop
from headrace.local.stores import RedisServer
from headrace.testing.eventually import eventually

BATCH = 500
CLIENTS = 4


@dataclass(frozen=True)
class Way:
    """One round: jobs per second, CPU µs per job of everything but the producer, waits in ms where they are known."""

    rate: float
    cpu_us: float
    wait_p50_ms: float | None = None
    wait_p99_ms: float | None = None


async def ours(bench: Bench, url: str, scheduler_pid: int, *, jobs: int, workers: int) -> Way:
    """Submit over HTTP while one child runs them."""
    await bench.empty()
    await register_noop(bench)
    child = await bench.start_child(slots=workers)
    await eventually(lambda: child.board.ready, within=20)
    pids = (scheduler_pid, child.pid, bench.mongo_pid, bench.redis_pid)
    sizes = iter([min(BATCH, jobs - first) for first in range(0, jobs, BATCH)])
    async with aiohttp.ClientSession() as session:

        async def client() -> None:
            for size in sizes:
                body = json.dumps({"jobs": [BODY] * size}).encode()
                async with session.post(f"{url}/v1/jobs/batch", data=body, headers=JSON_TYPE) as response:
                    found = await response.json()
                assert all(item["status"] == 201 for item in found["results"]), found["results"][0]

        cpu, began = cpu_seconds(*pids), time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        await eventually(lambda: child.board.counters()[0] == jobs, within=180, every=0.01)
    seconds, cpu = time.perf_counter() - began, cpu_seconds(*pids) - cpu
    waits = []
    fields = {"created_at": 1, "finished_at": 1, "state": 1}
    async for document in bench.database.jobs.find({}, fields):
        assert document["state"] == "completed", document
        waits.append((document["finished_at"] - document["created_at"]).total_seconds() * 1000)
    assert len(waits) == jobs, f"{len(waits)} of {jobs} jobs are in MongoDB"
    await end_children([child])
    return Way(jobs / seconds, cpu / jobs * 1e6, percentile(waits, 0.5), percentile(waits, 0.99))


async def stock(redis_url: str, redis_pid: int, *, jobs: int, workers: int) -> Way:
    """`send` while one worker process runs them."""
    client: Any = Redis.from_url(redis_url)
    await client.flushall()
    try:
        with stock_workers(redis_url, processes=1, threads=workers) as workers_pids:
            script = f"noop.send(); print(flush=True); sys.stdin.readline()\nfor _ in range({jobs}): noop.send()"
            producer = stock_script(redis_url, script)
            assert producer.stdin is not None
            assert producer.stdout is not None
            producer.stdout.readline()  # it is warm, and so is the worker once the first message is gone

            async def is_empty() -> bool:
                return not await client.hlen(MESSAGES)

            await eventually(is_empty, within=20)
            pids = (*workers_pids, redis_pid)
            cpu, began = cpu_seconds(*pids), time.perf_counter()
            producer.stdin.write("\n")
            producer.stdin.flush()
            await eventually(lambda: producer.poll() == 0, within=180, every=0.01)
            await eventually(is_empty, within=180, every=0.01)
            seconds = time.perf_counter() - began
            return Way(jobs / seconds, (cpu_seconds(*pids) - cpu) / jobs * 1e6)
    finally:
        await client.aclose()


async def run(*, jobs: int, workers: int, rounds: int) -> dict[str, Any]:
    """All rounds, in turns."""
    ways: dict[str, list[Way]] = {"ours": [], "stock": []}
    with RedisServer() as other:
        async with bench_stores(queue_size_limit=10_000_000) as bench, run_service("scheduler") as (url, pid):
            for _ in range(rounds):
                ways["ours"].append(await ours(bench, url, pid, jobs=jobs, workers=workers))
                ways["stock"].append(await stock(other.url, other.pid, jobs=jobs, workers=workers))
    result: dict[str, Any] = {
        "benchmark": "job_queue",
        "title": f"{jobs} no-op jobs from submission to end, {workers} workers, median of {rounds}",
    }
    for name, rounds_of in ways.items():
        result[name] = [asdict(way) for way in rounds_of]
        result[f"{name}_rate"] = round(median([way.rate for way in rounds_of]), 1)
        result[f"{name}_cpu_us"] = round(median([way.cpu_us for way in rounds_of]), 1)
    for share in ("p50", "p99"):
        result[f"wait_{share}_ms"] = round(median([way[f"wait_{share}_ms"] for way in result["ours"]]), 1)
    result["ratio"] = round(median([a.rate / b.rate for a, b in zip(ways["ours"], ways["stock"], strict=True)]), 2)
    return result


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=10, help="slots of the one child, threads of stock Dramatiq")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(run(jobs=options.jobs, workers=options.workers, rounds=options.rounds))
    waits = f"{result['wait_p50_ms']:.0f} / {result['wait_p99_ms']:.0f}"
    rows = [
        (
            label,
            f"{result[f'{name}_rate']:.0f}",
            f"{result[f'{name}_cpu_us']:.0f}",
            waits if name == "ours" else "",
            ", ".join(f"{way['rate']:.0f}" for way in result[name]),
        )
        for name, label in (("ours", "Headrace over HTTP"), ("stock", "stock Dramatiq"))
    ]
    rows.append(("ratio, median of pairs", f"{result['ratio']:.2f}", "", "", ""))
    columns = ("", "jobs/s", "CPU µs/job, all but the producer", "wait p50 / p99 ms", "every round")
    report(result, rows, columns, as_json=options.json)


if __name__ == "__main__":
    main()
