"""`python -m benchmarks.submit`: HTTP submissions, majority-durable, beside a bare majority insert at the same rate.

Open loop: requests begin on schedule whether or not earlier ones have ended, so a slow answer is not hidden by the
client's waiting. Singles at several rates, singles as fast as a closed loop of 64 goes, and batches of 1000. The bare
insert is one small document with the same write concern from the same process, in turns with ours (A B A B).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from benchmarks.measure import cpu_seconds
from benchmarks.services import run_service
from benchmarks.stock import stock_script
from benchmarks.stores import Bench, bench_stores, median, percentile, report
from headrace.contracts.executor import ExecutionPolicy
from headrace.local.stores import RedisServer
from headrace.runtime.process.ids import new_job_id
from headrace.runtime.store.job_types import JobType, JobTypes

SCHEMA = {"type": "object", "properties": {"note": {"type": "string"}}, "additionalProperties": False}
JSON_TYPE = {"Content-Type": "application/json"}
BODY = {"type": "noop", "payload": {"note": "benchmark"}}


async def open_loop(rate: int, seconds: float, act: Callable[[], Awaitable[None]]) -> list[float]:
    """Begin `act` `rate` times a second; returns the milliseconds from each scheduled begin to its end."""
    took: list[float] = []
    tasks = []
    began = time.perf_counter()

    async def one(at: float) -> None:
        await act()
        took.append((time.perf_counter() - at) * 1000)

    for number in range(int(rate * seconds)):
        at = began + number / rate
        wait = at - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(at)))
    await asyncio.gather(*tasks)
    return took


async def closed_loop(clients: int, total: int, act: Callable[[], Awaitable[None]]) -> float:
    """As fast as so many clients go; returns acts per second."""
    left = iter(range(total))

    async def client() -> None:
        for _ in left:
            await act()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return total / (time.perf_counter() - began)


async def register_noop(bench: Bench) -> None:
    """Let the scheduler take no-op jobs, and let Redis judge their bound."""
    await JobTypes(bench.database).register([JobType("noop", ExecutionPolicy(pool="default"), SCHEMA)])
    await bench.complete_pool()


async def measure(bench: Bench, url: str, pid: int, *, rates: list[int], seconds: float, rounds: int) -> dict[str, Any]:
    """Everything, in turns."""
    await register_noop(bench)
    bare = bench.database.handle["bare"]
    result: dict[str, Any] = {"benchmark": "submit", "title": "submissions, majority-durable", "rates": {}}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def submit() -> None:
            async with session.post(f"{url}/v1/jobs", json=BODY) as response:
                assert response.status == 201, await response.text()
                await response.read()

        async def insert() -> None:
            await bare.insert_one({"_id": new_job_id(), "payload": "x" * 300})

        await closed_loop(8, 400, submit)
        await closed_loop(8, 400, insert)
        for rate in rates:
            ours: list[list[float]] = []
            theirs: list[list[float]] = []
            for _ in range(rounds):
                theirs.append(await open_loop(rate, seconds, insert))
                ours.append(await open_loop(rate, seconds, submit))
            result["rates"][rate] = _row(ours, theirs)
        cpu = cpu_seconds(pid)
        total = 6000
        result["single_max"] = round(await closed_loop(64, total, submit), 1)
        result["single_cpu_us"] = round((cpu_seconds(pid) - cpu) / total * 1e6, 1)
        result |= await _batches(session, url, pid)
    result["stock_rate"] = _stock_rate()
    return result


def _stock_rate() -> float:
    """Messages per second of one producer of stock Dramatiq: a write to Redis alone, durable nowhere."""
    with RedisServer() as other:
        script = "noop.send(); began = time.perf_counter()\nfor _ in range(6000): noop.send()"
        producer = stock_script(other.url, f"{script}\nprint(6000 / (time.perf_counter() - began))")
        return round(float(producer.communicate()[0]), 1)


def _row(ours: list[list[float]], theirs: list[list[float]]) -> dict[str, float]:
    row: dict[str, float] = {}
    for name, runs in (("submit", ours), ("bare", theirs)):
        row[f"{name}_p50_ms"] = round(median([percentile(run, 0.5) for run in runs]), 2)
        row[f"{name}_p99_ms"] = round(median([percentile(run, 0.99) for run in runs]), 2)
    row["ratio_p50"] = round(row["submit_p50_ms"] / row["bare_p50_ms"], 2)
    row["ratio_p99"] = round(row["submit_p99_ms"] / row["bare_p99_ms"], 2)
    return row


async def _batches(session: aiohttp.ClientSession, url: str, pid: int) -> dict[str, float]:
    body = json.dumps({"jobs": [BODY] * 1000}).encode()
    jobs = 0

    async def one() -> None:
        nonlocal jobs
        async with session.post(f"{url}/v1/jobs/batch", data=body, headers=JSON_TYPE) as response:
            found = await response.json()
            assert all(item["status"] == 201 for item in found["results"])
            jobs += len(found["results"])

    await closed_loop(4, 8, one)
    jobs, cpu, began = 0, cpu_seconds(pid), time.perf_counter()
    await closed_loop(4, 100, one)
    seconds = time.perf_counter() - began
    return {
        "batch_rate": round(jobs / seconds, 1),
        "batch_cpu_us": round((cpu_seconds(pid) - cpu) / jobs * 1e6, 1),
    }


async def run(*, rates: list[int], seconds: float, rounds: int) -> dict[str, Any]:
    """Start the scheduler and measure."""
    async with bench_stores(queue_size_limit=10_000_000) as bench, run_service("scheduler") as (url, pid):
        return await measure(bench, url, pid, rates=rates, seconds=seconds, rounds=rounds)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=int, nargs="*", default=[100, 500, 1000])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each open loop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(run(rates=options.rates, seconds=options.seconds, rounds=options.rounds))
    rows = [
        (
            f"{rate}/s offered",
            f"{row['submit_p50_ms']:.1f} / {row['submit_p99_ms']:.1f}",
            f"{row['bare_p50_ms']:.1f} / {row['bare_p99_ms']:.1f}",
            f"{row['ratio_p50']:.2f} / {row['ratio_p99']:.2f}",
        )
        for rate, row in result["rates"].items()
    ]
    rows.append(("closed loop of 64", f"{result['single_max']:.0f}/s, {result['single_cpu_us']:.0f} µs CPU", "", ""))
    rows.append(("batches of 1000", f"{result['batch_rate']:.0f} jobs/s, {result['batch_cpu_us']:.0f} µs CPU", "", ""))
    rows.append(("stock Dramatiq, send", f"{result['stock_rate']:.0f}/s, one producer, not durable", "", ""))
    columns = ("", "submit p50 / p99 ms", "bare insert p50 / p99 ms", "ratio p50 / p99")
    report(result, rows, columns, as_json=options.json)


if __name__ == "__main__":
    main()
