"""A large backlog in MongoDB, made by the server itself: a client would need longer to send it than to measure it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.stores import Bench
from headrace.contracts.job import SCORE_STEP
from headrace.runtime.store.documents import to_document
from headrace.testing.builders import make_job

AT_ONCE = 1000
BACKLOG = "01a20000-0000-7000-8000-"
BACKLOG_END = "01a20000-0000-7000-9"
"""Their ids begin with the first and lie below the second; those of jobs submitted today lie above."""
AGE = timedelta(minutes=10)
"""Older than what recovery looks at as changed lately."""


async def store_backlog(bench: Bench, count: int, *, pool: str, type_: str, payload: str) -> None:
    """Store `count` waiting jobs of all three priorities, a millisecond apart. Replaces every job there was.

    Args:
        bench: The stores.
        count: A multiple of `AT_ONCE`.
        pool: Their pool.
        type_: Their type.
        payload: Their payload, as JSON.
    """
    template = to_document(make_job(type=type_, pool=pool, payload=payload))
    await asyncio.to_thread(_make, bench, template, count)
    await bench.database.ensure_indexes()


def _make(bench: Bench, template: dict[str, Any], count: int) -> None:
    began_ms = int((datetime.now(UTC) - AGE - timedelta(milliseconds=count)).timestamp() * 1000)
    rank = {"$mod": ["$number", 3]}
    at = {"$toDate": {"$add": [began_ms, "$number"]}}
    digits = {"$substrCP": [{"$toString": {"$add": [10**12, "$number"]}}, 1, 12]}
    fields = {
        "_id": {"$concat": [BACKLOG, digits]},
        "priority": rank,
        "score": {"$toLong": {"$add": [{"$multiply": [rank, SCORE_STEP]}, began_ms, "$number"]}},
        "created_at": at,
        "run_at": at,
        "updated_at": at,
    }
    # A client without a time limit for answers: this takes some ten seconds for a million.
    with bench.mongo_server.client() as client:
        database = client[bench.config.mongo_database]
        database.drop_collection("jobs")  # with its indexes: made afterwards they take a fraction of the time
        database.seeds.insert_many([{"_id": number} for number in range(count // AT_ONCE)])
        database.seeds.aggregate(
            [
                {"$set": {"n": {"$range": [0, AT_ONCE]}}},
                {"$unwind": "$n"},
                {"$set": {"number": {"$add": [{"$multiply": ["$_id", AT_ONCE]}, "$n"]}}},
                {"$replaceWith": {"$mergeObjects": [{"$literal": template}, fields]}},
                {"$out": "jobs"},
            ]
        )
        database.drop_collection("seeds")
