"""Finding jobs among very many, newest first: by index where there is one, else in stretches of bounded length.

A filter that no index serves could make MongoDB read a million documents for a page. So such a search looks at the
newest `STRETCH` jobs only, and says where the next one may go on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.runtime.store.database import Database
from headrace.runtime.store.documents import to_job
from headrace.runtime.store.faults import reading
from headrace.runtime.store.reads import WITHOUT_BODIES, has_tag, in_states

STRETCH = 10_000
SEARCH_SECONDS = 3.0
CLOCKS_DIFFER = timedelta(minutes=5)
"""Ids carry the scheduler's clock and `created_at` that of Redis: by so much ids are sought wider than asked for."""
_PREFIX = re.compile(r"[0-9a-f-]{4,36}")


@dataclass(frozen=True)
class Search:
    """Which jobs. Everything given must hold.

    Attributes:
        state: Served by an index; so is `type`, unless both are given.
        type: As `state`.
        pool: The pool.
        priority: 0 high, 1 medium, 2 low.
        tag: Name and value.
        owner: The worker child that runs them.
        error: The type of their error.
        tenant: Whose jobs.
        since: Created then or later.
        before_id: The cursor: only jobs whose id is smaller.
    """

    state: JobState | None = None
    type: str | None = None
    pool: str | None = None
    priority: int | None = None
    tag: tuple[str, str] | None = None
    owner: str | None = None
    error: str | None = None
    tenant: str | None = None
    since: datetime | None = None
    before_id: str | None = None


@dataclass(frozen=True)
class Found:
    """A page. `next_before`: the cursor of the next one; None at the end. `cut`: it stopped after `STRETCH` jobs."""

    jobs: list[Job]
    next_before: str | None
    cut: bool = False


class JobSearch:
    """Searches, from a majority. Nothing here writes."""

    def __init__(self, database: Database) -> None:
        self._jobs: Any = database.jobs

    async def page(self, search: Search, *, limit: int) -> Found:
        """A page of jobs without payload, result, checkpoint and log.

        Raises:
            StoreUnavailableError: MongoDB does not answer, or not in time.
        """
        key, rest = _key_of(search), _rest_of(search)
        ids = _ids_of(search)
        end = None
        with reading("search", seconds=SEARCH_SECONDS):
            if rest and "owner" not in rest:
                end = await self._end_of_stretch(key, ids)
                if end is not None:
                    ids["$gte"] = max(end, ids.get("$gte", ""))
            filter_ = {**key, **rest, **({"_id": ids} if ids else {})}
            cursor = self._jobs.find(filter_, WITHOUT_BODIES).sort("_id", -1).limit(limit + 1)
            jobs = [to_job(document) async for document in cursor]
        if len(jobs) > limit:
            return Found(jobs[:limit], jobs[limit - 1].id)
        return Found(jobs, end, cut=end is not None)

    async def _end_of_stretch(self, key: dict[str, Any], ids: dict[str, str]) -> str | None:
        """The id of the last job that may be looked at; None when there are fewer. At most `STRETCH` of an index."""
        filter_ = {**key, **({"_id": ids} if ids else {})}
        cursor = self._jobs.find(filter_, {"_id": 1}).sort("_id", -1).skip(STRETCH - 1).limit(1)
        async for document in cursor:
            return str(document["_id"])
        return None

    async def count(self, search: Search, *, cap: int) -> int | None:
        """How many, up to `cap`; None where that would take reading them."""
        if _rest_of(search) or (search.type is not None and search.since is not None):
            return None
        ids = _ids_of(search)
        with reading("search", seconds=SEARCH_SECONDS):
            return int(
                await self._jobs.count_documents({**_key_of(search), **({"_id": ids} if ids else {})}, limit=cap)
            )

    async def by_name(self, text: str, *, scopes: Sequence[str], tenant: str | None, limit: int = 50) -> list[Job]:
        """Jobs whose id begins with the text, or that were submitted with it as their idempotency key.

        Args:
            text: What somebody typed or pasted.
            scopes: Names of tokens whose keys are looked at.
            tenant: Whose jobs.
            limit: At most so many.
        """
        asked: list[dict[str, Any]] = []
        lowered = text.lower()
        if _PREFIX.fullmatch(lowered):
            asked.append({"_id": {"$gte": lowered, "$lt": lowered + "~"}})
        if scopes:
            asked.append({"idempotency.scope": {"$in": list(scopes)}, "idempotency.key": text})
        found: dict[str, Job] = {}
        for filter_ in asked:
            scope = {} if tenant is None else {"tenant": tenant}
            with reading("search", seconds=SEARCH_SECONDS):
                cursor = self._jobs.find({**filter_, **scope}, WITHOUT_BODIES).sort("_id", -1).limit(limit)
                found |= {document["_id"]: to_job(document) async for document in cursor}
        return list(found.values())[:limit]


def first_id_at(moment: datetime) -> str:
    """The smallest id that can have been made at this time."""
    digits = f"{max(0, int(moment.timestamp() * 1000)):012x}"
    return f"{digits[:8]}-{digits[8:12]}-7000-8000-000000000000"


def _key_of(search: Search) -> dict[str, Any]:
    """The part of the filter that an index with the ids behind it serves."""
    if search.state is not None:
        return in_states([search.state])
    return {} if search.type is None else {"type": search.type}


def _rest_of(search: Search) -> dict[str, Any]:
    """The part that is looked at in the documents."""
    asked = {
        "type": search.type if search.state is not None else None,
        "pool": search.pool,
        "priority": search.priority,
        "owner": search.owner,
        "error.type": search.error,
        "tenant": search.tenant,
    }
    rest: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if search.tag is not None:
        rest |= has_tag(*search.tag)
    # The ids of the range are read by index; what is left to look at in documents is its ragged end.
    if search.since is not None and rest:
        rest["created_at"] = {"$gte": search.since}
    return rest


def _ids_of(search: Search) -> dict[str, str]:
    ids: dict[str, str] = {}
    if search.since is not None:
        ids["$gte"] = first_id_at(search.since - (CLOCKS_DIFFER if _rest_of(search) else timedelta()))
    if search.before_id is not None:
        ids["$lt"] = search.before_id
    return ids
