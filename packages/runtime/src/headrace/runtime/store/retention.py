"""Keeping ended jobs within a number of bytes: how much there is, which are the oldest, away with them.

Age alone is the TTL index's business (`expire_at`). Here too only ended jobs are ever named by a delete, and not one of
the dead letters that are kept for ever: a backlog of failures must not make itself disappear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo.errors import OperationFailure

from headrace.contracts.states import TERMINAL, JobState
from headrace.runtime.store.crawl_leftovers import COLLECTIONS
from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import reading, writing

_NAMESPACE_NOT_FOUND = 26
_SCAN_SECONDS = 15.0
_GONE_WITHOUT_ASKING = [JobState.COMPLETED.value, JobState.CANCELLED.value]


class Retention:
    """Reads and deletes of ended jobs. Every call may be repeated, and made in two processes at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: Any = database.jobs

    async def stored_bytes(self) -> int:
        """Bytes of all jobs with what belongs to them (crawl results, logs), as documents: before compression.

        As the storage engine counts them, which after a crash of MongoDB is an estimate.
        """
        total = 0
        for name in ("jobs", *COLLECTIONS):
            with reading("stored bytes"):
                try:
                    answer = await self._database.handle.command("collStats", name)
                except OperationFailure as error:
                    if error.code != _NAMESPACE_NOT_FOUND:
                        raise
                else:
                    total += int(answer["size"])
        return total

    async def oldest(self, *, ended_before_seconds: float, limit: int) -> list[tuple[str, int]]:
        """The jobs that were submitted first, of those that may go: (id, bytes of its document).

        Completed and cancelled jobs, then failed ones that are discarded or have an end of their own.

        Args:
            ended_before_seconds: Only those that ended so long ago by MongoDB's clock.
            limit: At most so many.
        """
        found = await self._oldest({"state": {"$in": _GONE_WITHOUT_ASKING}}, ended_before_seconds, limit)
        if len(found) < limit:
            unwanted = {"$or": [{"discarded_at": {"$exists": True}}, {"expire_at": {"$exists": True}}]}
            failed = {"state": JobState.FAILED.value, **unwanted}
            found += await self._oldest(failed, ended_before_seconds, limit - len(found))
        return found

    async def _oldest(self, which: dict[str, Any], ended_before_seconds: float, limit: int) -> list[tuple[str, int]]:
        ended = {"$lt": [{"$add": ["$finished_at", int(ended_before_seconds * 1000)]}, "$$NOW"]}
        stages: list[dict[str, Any]] = [
            {"$match": {**which, "finished_at": {"$exists": True}, "$expr": ended}},
            {"$sort": {"_id": 1}},
            {"$limit": limit},
            {"$project": {"bytes": {"$bsonSize": "$$ROOT"}}},
        ]
        with reading("oldest ended jobs", seconds=_SCAN_SECONDS):
            cursor = self._jobs.aggregate(stages)
            return [(document["_id"], int(document["bytes"])) async for document in cursor]

    async def remove(self, job_ids: Sequence[str]) -> int:
        """Remove those of the jobs that are over; returns how many."""
        over = [state.value for state in TERMINAL]
        with writing("remove ended jobs"):
            result = await self._jobs.delete_many({"_id": {"$in": list(job_ids)}, "state": {"$in": over}})
        return int(result.deleted_count)
