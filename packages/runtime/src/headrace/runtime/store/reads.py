"""Reads for people and for admission. Recovery's comparisons have their own: `reconcile_reads`. Nothing here writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from headrace.contracts.errors import NotFoundError
from headrace.contracts.job import Job
from headrace.contracts.states import TERMINAL, JobState
from headrace.runtime.store.database import Database
from headrace.runtime.store.documents import to_job
from headrace.runtime.store.faults import reading

PENDING_STATES = [state.value for state in JobState if state not in TERMINAL]
WITHOUT_BODIES = {"payload": 0, "result": 0, "checkpoint": 0, "log": 0, "errors": 0}


@dataclass(frozen=True)
class JobQuery:
    """What to list. `before_id` is the cursor: ids are ordered by time, and lists go newest first."""

    states: Sequence[JobState] = ()
    type: str | None = None
    pool: str | None = None
    priority: int | None = None
    tag: tuple[str, str] | None = None
    tenant: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    before_id: str | None = None
    limit: int = 50


class Reads:
    """Reads of jobs, from a majority."""

    def __init__(self, database: Database) -> None:
        self._jobs: Any = database.jobs
        self._pools: Any = database.pools

    async def job(self, job_id: str, *, tenant: str | None = None) -> Job:
        """One job, whole.

        Raises:
            NotFoundError: There is no such job, or not for this tenant.
        """
        scope = {"_id": job_id} | ({"tenant": tenant} if tenant is not None else {})
        with reading("job"):
            document = await self._jobs.find_one(scope)
        if document is None:
            raise NotFoundError("there is no such job")
        return to_job(document)

    async def jobs(self, query: JobQuery) -> list[Job]:
        """A page of jobs, newest first, without payload, result, checkpoint and log."""
        documents: list[dict[str, Any]] = []
        with reading("jobs"):
            for filter_ in _by_index(query):
                cursor = self._jobs.find(filter_, WITHOUT_BODIES).sort("_id", -1).limit(query.limit)
                documents += await cursor.to_list(length=query.limit)
        documents.sort(key=itemgetter("_id"), reverse=True)
        return [to_job(document) for document in documents[: query.limit]]

    async def count_pending(self, pool: str, *, cap: int) -> int:
        """How many jobs of the pool are not over, counted up to `cap`."""
        with reading("pending jobs", seconds=2):
            return int(
                await self._jobs.count_documents({"pool": pool, "state": {"$in": PENDING_STATES}}, limit=max(1, cap))
            )

    async def count_pending_of_tenant(self, tenant: str, pool: str, *, cap: int) -> int:
        """How many jobs of the tenant in the pool are not over, counted up to `cap`."""
        with reading("pending jobs", seconds=2):
            filter_ = {"tenant": tenant, "pool": pool, "state": {"$in": PENDING_STATES}}
            return int(await self._jobs.count_documents(filter_, limit=max(1, cap), hint="pending_of_tenant"))

    async def counts_by_state(self, *, cap: int = 10_000) -> dict[str, int]:
        """Jobs per state, each counted up to `cap`."""
        counts = {}
        for state in JobState:
            with reading("counts"):
                counts[state.value] = int(await self._jobs.count_documents(in_states([state]), limit=cap))
        return counts

    async def expired_ids(self, *, limit: int = 1000) -> list[tuple[str, str]]:
        """Queued jobs that had to start by a time that is over: (pool, id)."""
        with reading("expired jobs"):
            cursor = self._jobs.find(
                {
                    "state": JobState.QUEUED.value,
                    "expires_at": {"$exists": True},
                    "$expr": {"$lte": ["$expires_at", "$$NOW"]},
                },
                {"pool": 1},
            ).limit(limit)
            return [(document["pool"], document["_id"]) async for document in cursor]

    async def paused(self) -> dict[str, str]:
        """Paused pools and why."""
        with reading("pools"):
            return {
                document["_id"]: document.get("paused_reason") or ""
                async for document in self._pools.find({"paused": True})
            }


def in_states(states: Sequence[JobState]) -> dict[str, Any]:
    """Filter part: in one of these pending states, or in this one that is over, in the words of its index."""
    if states[0] in TERMINAL:
        return {"state": states[0].value}
    if states == [JobState.PROCESSING]:
        return {"state": JobState.PROCESSING.value, "owner": {"$exists": True}}  # few: those in `held_by`, sorted
    return {"state": {"$in": [state.value for state in states]}, "finished_at": None}


def has_tag(name: str, value: str) -> dict[str, Any]:
    """Filter part: the job has this tag."""
    # $getField keeps a dot or a dollar sign in a tag's name from acting as a path.
    field = {"$getField": {"field": {"$literal": name}, "input": "$tags"}}
    return {"$expr": {"$eq": [field, {"$literal": value}]}}


def _by_index(query: JobQuery) -> list[dict[str, Any]]:
    """One filter per index that serves the states asked for."""
    filter_ = _filter_of(query)
    if not query.states:
        return [filter_]
    pending = [state for state in JobState if state in query.states and state not in TERMINAL]
    over = [[state] for state in JobState if state in query.states and state in TERMINAL]
    return [filter_ | in_states(states) for states in (pending, *over) if states]


def _filter_of(query: JobQuery) -> dict[str, Any]:
    filter_: dict[str, Any] = {}
    for name in ("type", "pool", "priority", "tenant"):
        value = getattr(query, name)
        if value is not None:
            filter_[name] = value
    if query.tag is not None:
        filter_ |= has_tag(*query.tag)
    created: dict[str, Any] = {}
    if query.created_after is not None:
        created["$gt"] = query.created_after
    if query.created_before is not None:
        created["$lt"] = query.created_before
    if created:
        filter_["created_at"] = created
    if query.before_id is not None:
        filter_["_id"] = {"$lt": query.before_id}
    return filter_


ID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
"""What an id of ours looks like; anything else names no job and need not be asked for."""
