"""Reads that only pages for people need. Nothing here writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.contracts.heartbeat import Incarnation
from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import reading
from headrace.runtime.store.incarnations import to_incarnation
from headrace.runtime.store.job_logs import LogLine

_SHOWN = (
    "state",
    "attempt",
    "updated_at",
    "progress",
    "checkpoint_at",
    "cancel_requested_at",
    "discarded_at",
    "replayed_by",
    "indexed",
)


class PageReads:
    """Reads over several collections."""

    def __init__(self, database: Database) -> None:
        self._jobs: Any = database.jobs
        self._workers: Any = database.workers
        self._logs: Any = database.handle["job_logs"]

    async def pulse(self, job_id: str, *, tenant: str | None) -> str | None:
        """A text that changes whenever a job's page would; None when there is no such job for this tenant."""
        scope = {"_id": job_id} | ({} if tenant is None else {"tenant": tenant})
        with reading("job"):
            document = await self._jobs.find_one(scope, dict.fromkeys(_SHOWN, 1))
            if document is None:
                return None
            lines = await self._newest_log(job_id, 1)
        return repr((*(document.get(name) for name in _SHOWN), lines[-1].seq if lines else 0))

    async def last_lines(self, job_id: str, limit: int) -> list[LogLine]:
        """The last lines of a job's newest attempt that said something, oldest first."""
        with reading("job logs"):
            return await self._newest_log(job_id, limit)

    async def _newest_log(self, job_id: str, limit: int) -> list[LogLine]:
        document = await self._logs.find_one(
            {"_id": {"$gte": f"{job_id}:", "$lt": f"{job_id};"}},
            {"attempt": 1, "lines": {"$slice": -limit}},
            sort=[("_id", -1)],
        )
        return [LogLine(attempt=document["attempt"], **line) for line in document["lines"]] if document else []

    async def workers(self, ids: Sequence[str]) -> dict[str, Incarnation]:
        """Worker children by id; those that are forgotten are absent."""
        with reading("workers"):
            found = self._workers.find({"_id": {"$in": list(ids)}}, {"types": 0})
            return {document["_id"]: to_incarnation(document) async for document in found}

    async def deaths(self, limit: int) -> list[Incarnation]:
        """Worker children that did not end in order, the latest first. Kept for a day at least."""
        with reading("workers"):
            found = self._workers.find({"dead_at": {"$ne": None}, "exit.kind": {"$ne": "graceful"}}, {"types": 0})
            return [to_incarnation(document) async for document in found.sort("dead_at", -1).limit(limit)]

    async def not_indexed(self, *, cap: int) -> int:
        """Waiting jobs that are stored and have not reached Redis, counted up to `cap`."""
        with reading("jobs"):
            # The pool is named because MongoDB takes an index only for a field that it begins with.
            return int(await self._jobs.count_documents({"pool": {"$gt": ""}, "indexed": False}, limit=cap))
