"""Dead letters: failed jobs that nobody discarded. Nothing here writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.runtime.store.database import Database
from headrace.runtime.store.documents import to_job
from headrace.runtime.store.faults import reading
from headrace.runtime.store.reads import WITHOUT_BODIES

COUNT_CAP = 100_000
SCAN_SECONDS = 10.0
MAX_GROUPS = 200


@dataclass(frozen=True)
class DeadFilter:
    """Which dead letters. Everything given must hold; `ids` None = any. `unreplayed`: only those without a replay."""

    type: str | None = None
    pool: str | None = None
    fingerprint: str | None = None
    ids: Sequence[str] | None = None
    tenant: str | None = None
    unreplayed: bool = False


@dataclass(frozen=True)
class DeadGroup:
    """Dead letters of one kind of error and one type."""

    fingerprint: str
    type: str
    count: int
    first_at: datetime
    last_at: datetime
    sample_message: str


class DeadReads:
    """Reads of dead letters, from a majority."""

    def __init__(self, database: Database) -> None:
        self._jobs: Any = database.jobs

    async def newest(self, wanted: DeadFilter, *, before_id: str | None, limit: int) -> list[Job]:
        """A page, newest first, without payload, result, checkpoint and log."""
        filter_ = _filter_of(wanted)
        if before_id is not None:
            filter_.setdefault("_id", {})["$lt"] = before_id
        with reading("dead letters", seconds=SCAN_SECONDS):
            cursor = self._jobs.find(filter_, WITHOUT_BODIES).sort("_id", -1).limit(limit)
            return [to_job(document) async for document in cursor]

    async def oldest(self, wanted: DeadFilter, *, after_id: str, limit: int) -> list[Job]:
        """A page with payloads, oldest first: the order in which they are replayed."""
        filter_ = _filter_of(wanted)
        filter_.setdefault("_id", {})["$gt"] = after_id
        fields = {"result": 0, "checkpoint": 0, "log": 0, "errors": 0}
        with reading("dead letters", seconds=SCAN_SECONDS):
            cursor = self._jobs.find(filter_, fields).sort("_id", 1).limit(limit)
            return [to_job(document) async for document in cursor]

    async def oldest_ids(self, wanted: DeadFilter, *, limit: int) -> list[str]:
        """Their ids, oldest first."""
        with reading("dead letters", seconds=SCAN_SECONDS):
            cursor = self._jobs.find(_filter_of(wanted), {"_id": 1}).sort("_id", 1).limit(limit)
            return [document["_id"] async for document in cursor]

    async def count(self, wanted: DeadFilter, *, cap: int = COUNT_CAP) -> int:
        """How many, counted up to `cap`."""
        with reading("dead letters", seconds=SCAN_SECONDS):
            return int(await self._jobs.count_documents(_filter_of(wanted), limit=cap))

    async def groups(self, wanted: DeadFilter, *, newest: int | None = None) -> list[DeadGroup]:
        """Them by fingerprint and type, the largest first, at most `MAX_GROUPS`.

        Reads each of them on the server; with `newest` only so many, the newest ones.
        """
        first: list[dict[str, Any]] = [] if newest is None else [{"$sort": {"_id": -1}}, {"$limit": newest}]
        stages = [
            {"$match": _filter_of(wanted)},
            *first,
            {
                "$group": {
                    "_id": {"fingerprint": "$error.fingerprint", "type": "$type"},
                    "count": {"$sum": 1},
                    "first_at": {"$min": "$finished_at"},
                    "last_at": {"$max": "$finished_at"},
                    "sample_message": {"$first" if newest is not None else "$last": "$error.message"},
                }
            },
            {"$sort": {"count": -1, "last_at": -1, "_id": 1}},
            {"$limit": MAX_GROUPS},
        ]
        with reading("dead letters", seconds=SCAN_SECONDS):
            return [
                DeadGroup(
                    fingerprint=document["_id"]["fingerprint"],
                    type=document["_id"]["type"],
                    **{name: document[name] for name in ("count", "first_at", "last_at", "sample_message")},
                )
                async for document in self._jobs.aggregate(stages)
            ]

    async def why_not(self, ids: Sequence[str], *, tenant: str | None) -> dict[str, JobState]:
        """The states of those ids that are jobs of the tenant."""
        filter_: dict[str, Any] = {"_id": {"$in": list(ids)}} | ({} if tenant is None else {"tenant": tenant})
        with reading("jobs"):
            return {doc["_id"]: JobState(doc["state"]) async for doc in self._jobs.find(filter_, {"state": 1})}


def _filter_of(wanted: DeadFilter) -> dict[str, Any]:
    asked = {
        "type": wanted.type,
        "pool": wanted.pool,
        "tenant": wanted.tenant,
        "error.fingerprint": wanted.fingerprint,
    }
    filter_: dict[str, Any] = {"state": JobState.FAILED.value, "discarded_at": None}
    filter_ |= {name: value for name, value in asked.items() if value is not None}
    if wanted.ids is not None:
        filter_["_id"] = {"$in": list(wanted.ids)}
    if wanted.unreplayed:
        filter_["replayed_by"] = None
    return filter_
