"""`PersistentJobQueue`: the queue of job ids when Redis is away, over the job documents themselves.

An index beside the truth must be told what changed; this one cannot be told anything, because it reads the truth each
time. So most verbs have nothing to write. What it does remember, in this process alone and for seconds, is which ids it
has just handed out or was told to leave alone for a moment, so that claimers of one process do not get in each other's
way and one refused job does not hold up the rest. Claimers of other processes do: the guarded claim of the documents
decides, and who was too late comes back with less.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.contracts.job import SCORE_STEP, Priority
from headrace.contracts.states import JobState
from headrace.runtime.queue.base import (
    CLAIM_ANSWER_MS,
    MAX_BATCH,
    PUTBACK_MS,
    Claim,
    Depths,
    Entry,
    Reservation,
    Verdict,
)
from headrace.runtime.queue.calls import checked_entries, checked_ids, checked_limits, checked_number, checked_token
from headrace.runtime.store.database import PENDING, Database
from headrace.runtime.store.documents import to_milliseconds
from headrace.runtime.store.faults import reading, writing

HANDED_OUT_MS = 10_000
"""How long a claimed id is kept from other claims: the deadline of the claim's update, and as much again."""
DEPTHS_CAP = 100_000
"""Jobs that `depths` looks at, in claim order, so that a glance at a huge pool stays cheap."""
_QUEUED = {"state": JobState.QUEUED.value}


@dataclass(frozen=True, slots=True)
class _Rest:
    """Why and until when (by MongoDB's clock) an id is not handed out. `token`: the claim that has it."""

    until_ms: int
    token: str | None


class PersistentJobQueue:
    """A `JobQueue` in MongoDB: slower, always complete. For one event loop.

    Differences to the index in Redis, all of them harmless to the truth: the bound is a count, so schedulers that
    count at the same moment may pass it by one batch each; a claim is a read, so two processes may be offered the same
    ids; nobody is woken, consumers poll.

    Args:
        database: The open database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: Any = database.jobs
        self._pools: Any = database.pools
        self._resting: dict[str, _Rest] = {}
        self._answers: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._one_claim = asyncio.Lock()

    async def reserve(
        self, pool: str, ids: Sequence[str], *, limit: int | Sequence[int], ttl_ms: int = 60_000
    ) -> Reservation:
        """Say how many of the ids fit, from the first on. Nothing is kept: the count is the reservation.

        Ids whose documents are stored already fit always. `pending` is counted up to the highest limit + 1.
        """
        wanted = checked_ids(ids)
        limits = checked_limits(limit, wanted)
        most = limit if isinstance(limit, int) else max(limits, default=0)
        checked_number(ttl_ms, name="ttl_ms", low=1)
        now = await self._now()
        with reading("pending jobs", seconds=2):
            pending = int(await self._jobs.count_documents({"pool": pool, **PENDING}, limit=most + 1))
            known: set[str] = set()
            if pending + len(wanted) > min(limits, default=0):
                cursor = self._jobs.find({"_id": {"$in": list(wanted)}, "pool": pool, **PENDING}, {"_id": 1})
                known = {document["_id"] async for document in cursor}
        granted = 0
        for job_id, own in zip(wanted, limits, strict=True):
            if job_id not in known:
                if pending >= own:
                    break
                pending += 1
            granted += 1
        return Reservation(granted=granted, complete=True, now_ms=to_milliseconds(now), pending=pending)

    async def enqueue(self, pool: str, entries: Sequence[Entry], *, drop: Sequence[str] = ()) -> int:
        """Nothing to add: a stored document waits by itself. Returns 0."""
        checked_ids(drop, name="drop")
        return self._forget(entries)

    async def claim(self, pool: str, *, token: str, count: int) -> Claim:
        """Offer the best due ids. Their documents decide who gets them, as always.

        The same token gets the same ids for a minute; an empty answer is not kept. `next_due_ms` is now when the answer
        is full: there may be more. Reads past delayed jobs of higher priority, so many of those make it slow.
        """
        checked_token(token)
        checked_number(count, name="count", high=MAX_BATCH)
        async with self._one_claim:
            now = await self._now()
            now_ms = to_milliseconds(now)
            self._forget_old(now_ms)
            paused = await self._is_paused(pool)
            ids = self._answers[token][1] if token in self._answers else ()
            if not ids and count and not paused:
                ids = await self._best(pool, now, count)
                self._resting |= dict.fromkeys(ids, _Rest(now_ms + HANDED_OUT_MS, token))
                if ids:
                    self._answers[token] = (now_ms + CLAIM_ANSWER_MS, ids)
            next_due_ms = now_ms if ids and len(ids) >= count else await self._next_due_ms(pool, now)
        return Claim(ids=ids, next_due_ms=next_due_ms, now_ms=now_ms, paused=paused)

    async def settle(self, pool: str, ids: Sequence[str]) -> int:
        """Nothing to forget: a job that is over does not wait. Returns 0."""
        return await self.remove(pool, ids)

    async def remove(self, pool: str, ids: Sequence[str]) -> int:
        """The same as `settle`."""
        for job_id in checked_ids(ids):
            self._resting.pop(job_id, None)
        return 0

    async def requeue(self, pool: str, entries: Sequence[Entry]) -> int:
        """Nothing to move: the document is queued again, due by its own `run_at`. Returns 0."""
        return self._forget(entries)

    async def release(self, pool: str, entries: Sequence[Entry]) -> int:
        """The same as `requeue`."""
        return self._forget(entries)

    async def putback(self, pool: str, *, token: str, verdicts: Sequence[Verdict]) -> int:
        """Leave refused ids alone for a while (`delayed`), so that the next claim finds what is behind them.

        `drop` and `leave` need nothing: such documents are not offered anyway. Returns how many this token still had.
        """
        checked_token(token)
        checked_entries(verdicts, name="verdicts")
        mine = [item for item in verdicts if item.id in self._resting and self._resting[item.id].token == token]
        now_ms = to_milliseconds(await self._now()) if any(item.place == "delayed" for item in mine) else 0
        for item in mine:
            if item.place == "delayed":
                self._resting[item.id] = _Rest(max(item.due_ms, now_ms + PUTBACK_MS), None)
            else:
                self._resting.pop(item.id, None)
        return len(mine)

    async def depths(self, pool: str, *, tenant: str | None = None) -> Depths:
        """How much is where, among the first `DEPTHS_CAP` jobs of the pool that are not over.

        Args:
            pool: The pool.
            tenant: Count this tenant's jobs alone.
        """
        waiting = {priority.value: 0 for priority in Priority}
        delayed = in_flight = 0
        oldest: list[datetime] = []
        for group in await self._groups(pool, tenant):
            kind, number = group["_id"], group["number"]
            if kind["state"] == JobState.PROCESSING.value:
                in_flight += number
            elif not kind["due"]:
                delayed += number
            else:
                waiting[Priority.of_rank(int(kind["rank"])).value] += number
                oldest.append(group["oldest"])
        return Depths(
            waiting=waiting,
            delayed=delayed,
            in_flight=in_flight,
            reserved=0,
            oldest_ms=to_milliseconds(min(oldest)) if oldest else None,
            paused=await self._is_paused(pool),
            complete=True,
        )

    async def pause(self, pool: str, on: bool, reason: str = "") -> None:
        """Stop claims, or let them go on. Written where every other part looks: the pool's own document."""
        change: dict[str, Any] = {"$set": {"paused": True, "paused_reason": reason}}
        if not on:
            change = {"$set": {"paused": False}, "$unset": {"paused_reason": 1}}
        with writing("pause"):
            await self._pools.update_one({"_id": pool}, change, upsert=on)

    async def _now(self) -> datetime:
        return await self._database.now(seconds=2)

    async def _is_paused(self, pool: str) -> bool:
        with reading("pool", seconds=2):
            return await self._pools.find_one({"_id": pool, "paused": True}, {"_id": 1}) is not None

    async def _best(self, pool: str, now: datetime, count: int) -> tuple[str, ...]:
        in_time = {"$or": [{"expires_at": None}, {"expires_at": {"$gt": now}}]}
        due = {"pool": pool, **_QUEUED, "run_at": {"$lte": now}, "_id": {"$nin": list(self._resting)}, **in_time}
        with reading("due jobs"):
            cursor = self._jobs.find(due, {"_id": 1}).sort([("score", 1), ("_id", 1)]).limit(count)
            return tuple([document["_id"] async for document in cursor])

    async def _next_due_ms(self, pool: str, now: datetime) -> int | None:
        moments = [rest.until_ms for rest in self._resting.values() if rest.token is None]
        with reading("next due job"):
            cursor = self._jobs.aggregate(
                [
                    {"$match": {"pool": pool, **_QUEUED, "run_at": {"$gt": now}}},
                    {"$group": {"_id": None, "first": {"$min": "$run_at"}}},
                ]
            )
            moments += [to_milliseconds(document["first"]) async for document in cursor]
        return min(moments, default=None)

    async def _groups(self, pool: str, tenant: str | None) -> list[dict[str, Any]]:
        kind = {
            "state": "$state",
            "due": {"$lte": ["$run_at", "$$NOW"]},
            "rank": {"$floor": {"$divide": ["$score", SCORE_STEP]}},
        }
        with reading("depths"):
            cursor = self._jobs.aggregate(
                [
                    {"$match": {"pool": pool, **PENDING} | ({} if tenant is None else {"tenant": tenant})},
                    {"$limit": DEPTHS_CAP},
                    {"$group": {"_id": kind, "number": {"$sum": 1}, "oldest": {"$min": "$created_at"}}},
                ]
            )
            return [document async for document in cursor]

    def _forget(self, entries: Sequence[Entry]) -> int:
        checked_entries(entries, name="entries")
        for entry in entries:
            self._resting.pop(entry.id, None)
        return 0

    def _forget_old(self, now_ms: int) -> None:
        self._resting = {job_id: rest for job_id, rest in self._resting.items() if rest.until_ms > now_ms}
        self._answers = {token: answer for token, answer in self._answers.items() if answer[0] > now_ms}
