"""What recovery reads to compare Redis with the truth: where each job stands, in pages that an index serves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from headrace.contracts.states import JobState
from headrace.runtime.store.database import MOVED, Database
from headrace.runtime.store.faults import reading
from headrace.runtime.store.raw_places import places
from headrace.runtime.store.reads import PENDING_STATES, in_states

MAX_POOLS = 1000
MAX_RUNNING = 10_000

_FIELDS: dict[str, Any] = {
    "pool": 1,
    "state": 1,
    "score": 1,
    "claim_token": 1,
    "updated_at": 1,
    "run_at_ms": {"$toLong": "$run_at"},
    "claimed_ms": {"$toLong": {"$ifNull": ["$claimed_at", "$run_at"]}},
    "changed_ms_ago": {"$subtract": ["$$NOW", "$updated_at"]},
    "due": {"$lte": ["$run_at", "$$NOW"]},
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stands by its document. `state` None: there is no document. Times in milliseconds since 1970."""

    id: str
    pool: str | None = None
    state: JobState | None = None
    score: int = 0
    run_at_ms: int = 0
    due: bool = False
    claim_token: str | None = None
    claimed_ms: int = 0
    changed_ms_ago: int = 0
    """By the server's clock, when it was read."""


@dataclass(frozen=True)
class ChangedPage:
    """Jobs in the order of their last change. `last` is where the next page goes on; None at the end."""

    standings: list[Standing]
    last: datetime | None


class ReconcileReads:
    """Reads of recovery, from a majority. Nothing here writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: Any = database.jobs
        self._pools: Any = database.pools

    async def now(self) -> datetime:
        """The primary's clock."""
        return await self._database.now()

    async def standings(self, ids: Sequence[str]) -> list[Standing]:
        """Where each id stands, in the order asked."""
        with reading("standings"):
            cursor = self._jobs.find({"_id": {"$in": list(ids)}}, _FIELDS)
            found = {document["_id"]: _to_standing(document) async for document in cursor}
        return [found.get(job_id) or Standing(job_id) for job_id in ids]

    async def stream(self, pool: str, state: JobState, *, page: int) -> AsyncGenerator[list[Standing], None]:
        """Every job of a pool in this state, in claim order, page by page.

        One pass over one index: paging by position would sort the whole rest for every page. A job that changes
        during the walk may be left out, or come although it is over.
        """
        async with aclosing(self._pages(pool, state, _FIELDS, page)) as pages:
            async for documents in pages:
                yield [_to_standing(document) for document in documents]

    async def due(
        self, pool: str, *, now: datetime, page: int, from_score: int = 0
    ) -> AsyncGenerator[list[tuple[str, int]], None]:
        """The queued jobs of a pool that are due, in claim order from this score on, page by page: (id, score).

        Out of the index alone and not decoded, so it is twenty times as fast as `stream`.
        """
        filter_ = {"pool": pool, "state": JobState.QUEUED.value, "run_at": {"$lte": now}}
        if from_score:
            filter_["score"] = {"$gte": from_score}
        cursor = self._jobs.find_raw_batches(filter_, {"score": 1}).sort("score", 1).batch_size(page)
        try:
            while True:
                with reading("pending jobs"):
                    batch = await anext(cursor, None)
                if not batch:
                    return
                yield places(batch)
        finally:
            await cursor.close()

    async def delayed(self, pool: str, *, now: datetime, page: int) -> AsyncGenerator[list[Standing], None]:
        """The queued jobs of a pool that are due later than `now`, in claim order, page by page."""
        async with aclosing(self._pages(pool, JobState.QUEUED, _FIELDS, page, {"run_at": {"$gt": now}})) as pages:
            async for documents in pages:
                yield [_to_standing(document) for document in documents]

    async def _pages(
        self, pool: str, state: JobState, fields: dict[str, Any], page: int, more: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        filter_ = {"pool": pool, "state": state.value, **(more or {})}
        cursor = self._jobs.find(filter_, fields).sort("score", 1).batch_size(page)
        try:
            while True:
                with reading("pending jobs"):
                    documents = await cursor.to_list(length=page)
                if not documents:
                    return
                yield documents
        finally:
            await cursor.close()

    async def changed(self, *, after: datetime, until: datetime, limit: int) -> ChangedPage:
        """Jobs whose last change is in `(after, until]`, oldest first.

        Completed ones are left out: they are many, and what is left of them in Redis was in flight, where the sweep
        finds it. Running ones are `running`'s: an index of changes would move them at every claim. When more than
        `limit` jobs changed in one millisecond, the rest of them is passed over.
        """
        with reading("changed jobs"):
            cursor = (
                self._jobs.find({"updated_at": {"$gt": after, "$lte": until}, **MOVED}, _FIELDS)
                .sort("updated_at", 1)
                .limit(limit)
            )
            documents = await cursor.to_list(length=limit)
        if len(documents) < limit:
            return ChangedPage([_to_standing(document) for document in documents], None)
        last: datetime = documents[-1]["updated_at"]
        if last > documents[0]["updated_at"]:
            # The last millisecond may go on beyond this page: leave it to the next one.
            last -= timedelta(milliseconds=1)
        return ChangedPage([_to_standing(document) for document in documents], last)

    async def running(self, *, after: datetime, limit: int = MAX_RUNNING) -> list[Standing]:
        """At most `limit` running jobs of all pools that were claimed after this. Reads each running job there is."""
        filter_ = in_states([JobState.PROCESSING]) | {"updated_at": {"$gt": after}}
        with reading("running jobs"):
            return [_to_standing(document) async for document in self._jobs.find(filter_, _FIELDS).limit(limit)]

    async def stored(self, pool: str, *, limit: int) -> list[Standing]:
        """Queued jobs that were taken while Redis was away. Those that are over keep their mark and do not count."""
        filter_ = {"pool": pool, "indexed": False, "state": JobState.QUEUED.value}
        with reading("stored jobs"):
            return [_to_standing(document) async for document in self._jobs.find(filter_, _FIELDS).limit(limit)]

    async def head_types(self, pool: str, *, limit: int) -> dict[str, int]:
        """The types among the first `limit` queued jobs of a pool in claim order, and how many of each."""
        with reading("waiting types"):
            cursor = self._jobs.aggregate(
                [
                    {"$match": {"pool": pool, "state": JobState.QUEUED.value}},
                    {"$sort": {"score": 1}},
                    {"$limit": limit},
                    {"$group": {"_id": "$type", "count": {"$sum": 1}}},
                ]
            )
            return {document["_id"]: document["count"] async for document in cursor}

    async def pools(self) -> list[str]:
        """Every pool that has a pending job or settings of its own; one look into the index per pool."""
        found: set[str] = set()
        with reading("pools"):
            found.update([document["_id"] async for document in self._pools.find({}, {"_id": 1}).limit(MAX_POOLS)])
            at = ""
            for _ in range(MAX_POOLS):
                document = await self._jobs.find_one(
                    {"pool": {"$gt": at}, "state": {"$in": PENDING_STATES}}, {"pool": 1}, sort=[("pool", 1)]
                )
                if document is None:
                    break
                at = document["pool"]
                found.add(at)
        return sorted(found)


def _to_standing(document: dict[str, Any]) -> Standing:
    return Standing(
        id=document["_id"],
        pool=document["pool"],
        state=JobState(document["state"]),
        score=document["score"],
        run_at_ms=document["run_at_ms"],
        due=document["due"],
        claim_token=document.get("claim_token"),
        claimed_ms=document["claimed_ms"],
        changed_ms_ago=int(document["changed_ms_ago"]),
    )
