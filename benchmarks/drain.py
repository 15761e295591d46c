"""`python -m benchmarks.drain`: no-op jobs through children with 10 slots each, against stock Dramatiq.

Ours: every transition majority-durable in MongoDB, strict priority, cancel, fencing. Stock: Dramatiq's RedisBroker, one
process per child with as many threads. Each on its own Redis of the same kind, in turns (A B A B …), medians. The ratio
is what counts; absolute figures are this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from redis.asyncio import Redis

from benchmarks.measure import Drain, watch_drain
from benchmarks.stock import MESSAGES, stock_script, stock_workers
from benchmarks.stores import Bench, bench_stores, end_children, median, report
from headrace.local.stores import RedisServer


async def drain_ours(bench: Bench, *, jobs: int, slots: int, children: int) -> Drain:
    """Fill a pool, then start children and watch them empty it."""
    await bench.empty()
    await bench.fill(jobs)
    running = [await bench.start_child(slots=slots) for _ in range(children)]

    async def ended() -> int:
        return sum(child.board.counters()[0] for child in running)

    try:
        drain = await watch_drain(jobs, ended, [child.pid for child in running], store_pid=bench.mongo_pid)
        completed = await bench.database.jobs.count_documents({"state": "completed"})
        assert completed == jobs, f"{completed} of {jobs} are completed in MongoDB"
    finally:
        await end_children(running)
    return drain


async def drain_stock(redis_url: str, redis_pid: int, *, jobs: int, threads: int, processes: int) -> Drain:
    """The same with stock Dramatiq."""
    client: Any = Redis.from_url(redis_url)
    await client.flushall()
    assert stock_script(redis_url, f"for _ in range({jobs}): noop.send()").wait() == 0  # nothing else runs on this loop

    async def ended() -> int:
        return jobs - int(await client.hlen(MESSAGES))

    try:
        with stock_workers(redis_url, processes=processes, threads=threads) as pids:
            return await watch_drain(jobs, ended, pids, store_pid=redis_pid)
    finally:
        await client.aclose()


async def run(*, jobs: int, slots: int, children: int, rounds: int) -> dict[str, Any]:
    """All rounds, in turns."""
    ours: list[Drain] = []
    stock: list[Drain] = []
    with RedisServer() as other:
        async with bench_stores() as bench:
            for _ in range(rounds):
                ours.append(await drain_ours(bench, jobs=jobs, slots=slots, children=children))
                stock.append(await drain_stock(other.url, other.pid, jobs=jobs, threads=slots, processes=children))
    result: dict[str, Any] = {
        "benchmark": "drain",
        "jobs": jobs,
        "slots": slots,
        "children": children,
        "rounds": rounds,
        "ours": [drain.as_dict() for drain in ours],
        "stock": [drain.as_dict() for drain in stock],
    }
    for name, drains in (("ours", ours), ("stock", stock)):
        result[f"{name}_rate"] = round(median([drain.rate for drain in drains]), 1)
        result[f"{name}_cpu_us"] = round(median([drain.cpu_us for drain in drains]), 1)
        result[f"{name}_store_cpu_us"] = round(median([drain.store_cpu_us for drain in drains]), 1)
    result["ratio"] = round(result["ours_rate"] / result["stock_rate"], 3)
    return result


def rows_of(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The lines of one number of children."""
    rows = [
        (
            f"{label}, {result['children']} x {result['slots']} slots",
            f"{result[f'{name}_rate']:.0f}",
            f"{result[f'{name}_cpu_us']:.0f}",
            f"{result[f'{name}_store_cpu_us']:.0f}",
            ", ".join(f"{item['rate']:.0f}" for item in result[name]),
        )
        for name, label in (("ours", "Headrace"), ("stock", "stock Dramatiq"))
    ]
    return [*rows, ("ratio", f"{result['ratio']:.2f}", "", "", "")]


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=10)
    parser.add_argument("--children", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    results = [
        asyncio.run(run(jobs=options.jobs, slots=options.slots, children=children, rounds=options.rounds))
        for children in options.children
    ]
    title = f"{options.jobs} no-op jobs, median of {options.rounds}; Headrace majority-durable, Dramatiq on RedisBroker"
    columns = ("", "jobs/s", "worker CPU µs/job", "store CPU µs/job", "every round")
    rows = [row for result in results for row in rows_of(result)]
    report({"benchmark": "drain", "title": title, "results": results}, rows, columns, as_json=options.json)


if __name__ == "__main__":
    main()
