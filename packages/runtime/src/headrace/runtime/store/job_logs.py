"""What jobs printed and logged: one document for each attempt that said something, its last lines.

They leave when their job's document is gone, like crawl results: `crawl_leftovers`. An attempt writes to its own
document alone, so a late write of one that no longer counts changes nothing of the next one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import reading, writing

PER_ATTEMPT = 1_000_000_000
"""`seq` is the attempt times this, plus the number of the line: it rises over all attempts of a job."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line. `level` is `stdout`, `stderr`, or that of a log call; `at` is by the worker's clock."""

    seq: int
    attempt: int
    at: datetime
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class LogBatch:
    """New lines of one attempt.

    Attributes:
        job_id: The job.
        attempt: Whose lines they are.
        first: Number of the first that may not be stored yet; what is stored from it on is replaced.
        lines: (number in the attempt, seconds since 1970, level, text) in order.
        keep: How many of the attempt's last lines are to be left.
    """

    job_id: str
    attempt: int
    first: int
    lines: Sequence[tuple[int, float, str, str]]
    keep: int


class JobLogs:
    """The collection `job_logs`."""

    def __init__(self, database: Database) -> None:
        self._logs: Any = database.handle["job_logs"]

    async def append(self, batches: Sequence[LogBatch]) -> None:
        """Add lines. Sending the same again is safe.

        Raises:
            StoreUnavailableError, OutcomeUnknownError: Send the same again.
        """
        if not batches:
            return
        operations = [_append(batch) for batch in batches]
        with writing("job logs"):
            try:
                await self._logs.bulk_write(operations, ordered=False)
            except BulkWriteError as error:
                if not _only_duplicates(error):
                    raise
                # Two first writes of one attempt met, one of them a repeat: the document is there now.
                await self._logs.bulk_write(operations, ordered=False)

    async def read(self, job_id: str, *, after: int, limit: int) -> list[LogLine]:
        """Lines of a job behind `after`, oldest first, the newest attempt last.

        Args:
            job_id: The job.
            after: The `seq` of the last line seen; 0 to begin.
            limit: At most so many.

        Raises:
            StoreUnavailableError: MongoDB did not answer.
        """
        pipeline: list[dict[str, Any]] = [
            {"$match": {"_id": {"$gte": _key(job_id, after // PER_ATTEMPT), "$lt": f"{job_id};"}}},
            {"$sort": {"_id": 1}},
            {"$unwind": "$lines"},
            {"$match": {"lines.seq": {"$gt": after}}},
            {"$limit": limit},
        ]
        with reading("job logs"):
            return [
                LogLine(
                    seq=document["lines"]["seq"],
                    attempt=document["attempt"],
                    at=document["lines"]["at"],
                    level=document["lines"]["level"],
                    text=document["lines"]["text"],
                )
                async for document in self._logs.aggregate(pipeline)
            ]


def _append(batch: LogBatch) -> UpdateOne:
    base = batch.attempt * PER_ATTEMPT
    lines = [
        {"seq": base + number, "at": datetime.fromtimestamp(at, UTC), "level": level, "text": text}
        for number, at, level, text in batch.lines
    ]
    before = {"$filter": {"input": {"$ifNull": ["$lines", []]}, "cond": {"$lt": ["$$this.seq", base + batch.first]}}}
    return UpdateOne(
        {"_id": _key(batch.job_id, batch.attempt)},
        [
            {
                "$set": {
                    "attempt": batch.attempt,
                    "lines": {"$slice": [{"$concatArrays": [before, {"$literal": lines}]}, -batch.keep]},
                }
            }
        ],
        upsert=True,
    )


def _key(job_id: str, attempt: int) -> str:
    return f"{job_id}:{attempt:08d}"


def _only_duplicates(error: BulkWriteError) -> bool:
    details = error.details or {}
    problems = details.get("writeErrors") or []
    return bool(problems) and all(item.get("code") == 11000 for item in problems)
