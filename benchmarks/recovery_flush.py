"""An emptied Redis, with a backlog in MongoDB, while jobs are submitted and run."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.backlog import AT_ONCE, BACKLOG_END, store_backlog
from benchmarks.recovery_load import JOB_SECONDS, TYPE, producer, single_producer
from benchmarks.services import run_service
from benchmarks.stores import Bench, bench_stores

POOL = "test"
SLOTS = 10
REST_SECONDS = 3.0
"""Before each loss, so that there is something to compare with."""
WITHIN_SECONDS = 120.0
FIRST_SECONDS = 600.0
"""To fill Redis for the first time, which is not measured."""
UNDER_WAY = timedelta(seconds=0.1)
"""A claim that had its ids from Redis before the loss reaches MongoDB within this, and is not the first after it."""
FIRST_CLAIM_BOUND, WHOLE_BOUND = 2.0, 15.0
POOLS = f"""
[pools.crawl]
max_slots = 0
[pools.default]
max_slots = 0
[pools.test]
min_slots = {SLOTS}
slots_per_process = {SLOTS}
"""


async def until_complete(bench: Bench, *, within: float = WITHIN_SECONDS) -> float:
    """When the pool is whole again, by this clock."""
    deadline = time.monotonic() + within
    while not await bench.queue.is_complete(POOL):
        if time.monotonic() > deadline:
            raise TimeoutError("the pool was not whole in time")
        await asyncio.sleep(0.02)
    return time.monotonic()


async def until_claimed(bench: Bench, since: datetime) -> float:
    """When a job of the backlog was claimed after `since`, by MongoDB's clock, which is this machine's."""
    wanted = {
        "owner": {"$exists": True},
        "state": "processing",
        "_id": {"$lt": BACKLOG_END},  # not one that was submitted meanwhile: its scheduler pushes it itself
        "claimed_at": {"$gt": since},
    }
    while await bench.database.jobs.find_one(wanted, {"_id": 1}, hint="held_by") is None:  # noqa: ASYNC110 -- others do it
        await asyncio.sleep(0.01)
    return time.monotonic()


async def check_whole(bench: Bench) -> int:
    """Every pending job is in Redis once, when nobody submits and nobody runs; returns how many."""
    for _ in range(100):
        depths = await bench.queue.depths(POOL)
        held = sum(depths.waiting.values()) + depths.delayed + depths.in_flight
        pending = await bench.database.jobs.count_documents(
            {"pool": POOL, "state": {"$in": ["queued", "processing"]}}, hint="pending_in_claim_order"
        )
        if held == pending:
            return held
        await asyncio.sleep(0.1)
    raise AssertionError(f"Redis holds {held} ids, MongoDB {pending} pending jobs")


async def one_flush(bench: Bench) -> dict[str, float]:
    """Empty Redis and watch."""
    await asyncio.sleep(REST_SECONDS)
    await bench.redis.flushall()
    began = time.monotonic()
    since = datetime.now(UTC) + UNDER_WAY
    first, whole = await asyncio.gather(until_claimed(bench, since), until_complete(bench))
    return {
        "began": began,
        "ended": whole,
        "first_claim_seconds": round(first - began, 3),
        "whole_seconds": round(whole - began, 3),
    }


async def run(*, jobs: int, rate: float, rounds: int, singles: float) -> dict[str, Any]:
    """Store the backlog, start everything, empty Redis so many times."""
    jobs = max(AT_ONCE, jobs // AT_ONCE * AT_ONCE)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        (folder / "pools.toml").write_text(POOLS)
        limit = 2 * jobs + 1_000_000
        bench = await stack.enter_async_context(bench_stores(cache_gb=1, queue_size_limit=limit, max_workers=SLOTS))
        os.environ.update(JOB_TEST_MODE="1", JOB_POOLS_FILE=str(folder / "pools.toml"))
        began = time.monotonic()
        await store_backlog(bench, jobs, pool=POOL, type_=TYPE, payload=f'{{"seconds": {JOB_SECONDS}}}')
        stored_seconds = time.monotonic() - began
        await stack.enter_async_context(run_service("recovery"))
        await until_complete(bench, within=FIRST_SECONDS)
        async with AsyncExitStack() as load:
            await load.enter_async_context(run_service("worker"))
            scheduler, _ = await load.enter_async_context(run_service("scheduler"))
            answers = await load.enter_async_context(producer(scheduler, rate=rate))
            ones = await load.enter_async_context(single_producer(scheduler, rate=singles))
            await until_claimed(bench, datetime.now(UTC) + UNDER_WAY)
            before = dict(answers)
            measured = [await one_flush(bench) for _ in range(rounds)]
            during = {name: answers[name] - before[name] for name in answers}
        held = await check_whole(bench)
    lost = [(item["began"], item["ended"]) for item in measured]
    result: dict[str, Any] = {
        "benchmark": "recovery",
        "title": f"Redis emptied: {jobs:,} jobs wait, {rate:g} are submitted and {SLOTS / JOB_SECONDS:g} run a second",
        "jobs": jobs,
        "rounds": measured,
        "submitted_meanwhile": during,
        "singles": {
            "offered": singles,
            "refused": ones.refused,
            "while_whole": ones.within([(began - REST_SECONDS, began) for began, _ in lost]),
            "while_not": ones.within(lost),
        },
        "ids_at_the_end": held,
        "stored_seconds": round(stored_seconds, 1),
        "bounds": {"first_claim_seconds": FIRST_CLAIM_BOUND, "whole_seconds": WHOLE_BOUND},
    }
    for name in ("first_claim_seconds", "whole_seconds"):
        result[name] = max(item[name] for item in measured)
    return result


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """For the table: what, the worst, its bound, every round."""
    labels = {"first_claim_seconds": "first claim after the loss", "whole_seconds": "every job in Redis again"}
    found: list[tuple[str, ...]] = [
        (
            label,
            f"{result[name]:.2f} s",
            f"{result['bounds'][name]:g} s",
            ", ".join(f"{item[name]:.2f}" for item in result["rounds"]),
        )
        for name, label in labels.items()
    ]
    return [
        *found,
        ("accepted meanwhile in batches", f"{result['submitted_meanwhile']['accepted']:,}", "", ""),
        (
            "not accepted meanwhile",
            f"{result['submitted_meanwhile']['other'] + result['singles']['refused']:,}",
            "",
            "",
        ),
        ("one by one, Redis whole", _single(result, "while_whole"), "", f"{result['singles']['offered']:g}/s offered"),
        ("one by one, Redis not whole", _single(result, "while_not"), "", "p50, worst"),
        ("ids in Redis = pending in MongoDB", f"{result['ids_at_the_end']:,}", "", ""),
    ]


def _single(result: dict[str, Any], when: str) -> str:
    found = result["singles"][when]
    return f"{found['rate']:g}/s, {found['p50_ms']:g} ms, {found['worst_ms']:g} ms"
