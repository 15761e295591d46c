"""`python -m benchmarks.drain`: no-op jobs through one child with 10 slots, against stock Dramatiq.

Ours: every transition majority-durable in MongoDB, strict priority, cancel, fencing. Stock: Dramatiq's RedisBroker, one
process with 10 threads. Both on the same kind of Redis, in turns (A B A B …), medians; the ratio is what counts, since
absolute figures are this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
from typing import Any

import psutil
from pydantic import SecretStr
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Drain, watch_drain
from headrace.contracts.config import JobConfig
from headrace.contracts.job import Priority
from headrace.local.stores import MongoServer, RedisServer
from headrace.runtime.process.ids import new_incarnation
from headrace.runtime.queue.base import Entry
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.database import Database
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.state_manager import JobStateManager
from headrace.testing.builders import make_job
from headrace.worker.child_process import ChildProcess
from headrace.worker.pools import ChildPlan

BATCH = 1000


async def drain_ours(config: JobConfig, *, jobs: int, slots: int, children: int) -> Drain:
    """Fill a pool, then start children and watch them empty it."""
    database = Database(config, appname="bench")
    redis = redis_client(config.redis_url, kind="command", name="bench")
    queue = RedisJobQueue(redis, namespace=config.namespace)
    state = JobStateManager(database)
    await database.handle.client.drop_database(config.mongo_database)
    await database.ensure_indexes()
    await redis.flushall()
    priorities = list(Priority)
    for start in range(0, jobs, BATCH):
        batch = [make_job(priority=priorities[i % 3]) for i in range(start, min(start + BATCH, jobs))]
        await state.insert(batch)
        await queue.enqueue("default", [Entry(job.id, job.ready_score) for job in batch])
    running = [await _start_child(config, database, slots) for _ in range(children)]

    async def ended() -> int:
        return sum(child.board.counters()[0] for child in running)

    try:
        drain = await watch_drain(jobs, ended, running[0].pid)
        completed = await database.jobs.count_documents({"state": "completed"})
        assert completed == jobs, f"{completed} of {jobs} are completed in MongoDB"
    finally:
        for child in running:
            child.ask_to_end()
        await asyncio.gather(*(child.ended for child in running))
        await redis.aclose()
        database.close()
    return drain


async def _start_child(config: JobConfig, database: Database, slots: int) -> ChildProcess:
    incarnation = new_incarnation()
    await Incarnations(database).register(
        incarnation,
        service="bench",
        host="bench",
        pool="default",
        types=["noop"],
        slots=slots,
        version="bench",
        lease_seconds=600,
    )
    return ChildProcess.spawn(incarnation, ChildPlan("default", ("noop",), slots), grace_seconds=2)


async def drain_stock(redis_url: str, *, jobs: int, threads: int) -> Drain:
    """The same with stock Dramatiq: one process, as many threads."""
    environment = {**os.environ, "BENCH_REDIS_URL": redis_url}
    client: Any = Redis.from_url(redis_url)
    await client.flushall()
    fill = f"from benchmarks.stock import noop\nfor _ in range({jobs}): noop.send()"
    subprocess.run([sys.executable, "-c", fill], env=environment, check=True)  # noqa: ASYNC221 -- as below
    process = subprocess.Popen(  # noqa: ASYNC220 -- nothing else runs on this loop
        [sys.executable, "-m", "dramatiq", "benchmarks.stock", "-p", "1", "-t", str(threads), "--use-spawn"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    async def ended() -> int:
        return jobs - int(await client.hlen("stock:bench.msgs"))

    try:
        pid = await _worker_pid(process.pid)
        return await watch_drain(jobs, ended, pid)
    finally:
        process.terminate()
        process.wait(20)
        await client.aclose()


async def _worker_pid(parent: int) -> int:
    """The process that runs the jobs: the command's only child that is no helper of multiprocessing."""
    for _ in range(500):
        for child in psutil.Process(parent).children():
            command = " ".join(child.cmdline())
            if "spawn_main" in command and "resource_tracker" not in command:
                return child.pid
        await asyncio.sleep(0.02)
    raise TimeoutError("stock Dramatiq did not start its worker process")


async def run(*, jobs: int, slots: int, children: int, rounds: int) -> dict[str, Any]:
    """All rounds, in turns."""
    ours: list[Drain] = []
    stock: list[Drain] = []
    with RedisServer() as redis, RedisServer() as other, MongoServer() as mongo:
        config = JobConfig(
            redis_url=SecretStr(redis.url), mongo_url=SecretStr(mongo.url), mongo_database="bench", namespace="bench"
        )
        os.environ.update(
            JOB_REDIS_URL=redis.url, JOB_MONGO_URL=mongo.url, JOB_MONGO_DATABASE="bench", JOB_NAMESPACE="bench"
        )
        for _ in range(rounds):
            ours.append(await drain_ours(config, jobs=jobs, slots=slots, children=children))
            stock.append(await drain_stock(other.url, jobs=jobs, threads=slots))
    return {
        "benchmark": "drain",
        "jobs": jobs,
        "slots": slots,
        "children": children,
        "rounds": rounds,
        "ours": [drain.as_dict() for drain in ours],
        "stock": [drain.as_dict() for drain in stock],
        "ours_rate": round(statistics.median(drain.rate for drain in ours), 1),
        "stock_rate": round(statistics.median(drain.rate for drain in stock), 1),
        "ours_cpu_us": round(statistics.median(drain.cpu_us for drain in ours), 1),
        "stock_cpu_us": round(statistics.median(drain.cpu_us for drain in stock), 1),
        "ratio": round(
            statistics.median(drain.rate for drain in ours) / statistics.median(drain.rate for drain in stock), 3
        ),
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=10)
    parser.add_argument("--children", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    report = asyncio.run(run(jobs=options.jobs, slots=options.slots, children=options.children, rounds=options.rounds))
    if options.json:
        print(json.dumps(report))
        return
    table = Table(title=f"{report['jobs']} no-op jobs, {report['slots']} slots, {report['children']} child")
    for column in ("", "jobs/s (median)", "worker CPU µs per job", "every round"):
        table.add_column(column)
    for name, label in (("ours", "Headrace, majority-durable"), ("stock", "stock Dramatiq, RedisBroker")):
        rates = ", ".join(f"{item['rate']:.0f}" for item in report[name])
        table.add_row(label, f"{report[f'{name}_rate']:.0f}", f"{report[f'{name}_cpu_us']:.0f}", rates)
    Console().print(table)
    Console().print(f"ratio {report['ratio']}")


if __name__ == "__main__":
    main()
