"""The verbs of a job's way: a place, waiting, in flight, waiting again, gone."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from headrace.runtime.queue.base import (
    CLAIM_ANSWER_MS,
    MAX_BATCH,
    PIECE,
    PROMOTE_LATE_MS,
    PUTBACK_MS,
    Claim,
    Entry,
    Reservation,
    Verdict,
)
from headrace.runtime.queue.calls import (
    PoolCalls,
    checked_entries,
    checked_ids,
    checked_limits,
    checked_number,
    checked_token,
    pieces,
    runs_of,
    whole,
)

POLL_MS = 1000
"""Idle consumers look at least this often; an id due sooner wakes them, so that they learn of it."""

log = structlog.get_logger(__name__)


class FlowVerbs(PoolCalls):
    """What schedulers and workers call."""

    async def reserve(
        self, pool: str, ids: Sequence[str], *, limit: int | Sequence[int], ttl_ms: int = 60_000
    ) -> Reservation:
        """Keep places for ids that will be inserted.

        Grants a prefix of `ids`, so that at most `limit` ids of the pool are ready, delayed, in flight or reserved.
        With a limit for each id an id is granted while fewer than its own limit are; limits must not rise.
        Ids that have a place or wait already are granted again. A place counts, also past its time, until it is
        enqueued, dropped or freed.
        """
        keys = self._keys.pool(pool)
        wanted = checked_ids(ids)
        limits = checked_limits(limit, wanted)
        checked_number(ttl_ms, name="ttl_ms", low=1, high=86_400_000)
        over = [keys.ready, keys.delayed, keys.inflight, keys.reserved, keys.epoch]
        total = 0
        for first in range(0, max(1, len(wanted)), PIECE):
            piece = wanted[first : first + PIECE]
            runs = [part for run in runs_of(limits[first : first + PIECE]) for part in run]
            args: list[str | int] = [ttl_ms, len(runs) // 2, *runs, *piece]
            granted, complete, now_ms, pending = await self._run("reserve", over, args)
            total += granted
            if granted < len(piece):
                break
        return Reservation(granted=total, complete=complete == 1, now_ms=now_ms, pending=pending)

    async def enqueue(self, pool: str, entries: Sequence[Entry], *, drop: Sequence[str] = ()) -> int:
        """Let ids wait whose documents are stored, and free the places of `drop`.

        An id that is ready, delayed or in flight already stays as it is. Refused when Redis is full.

        Returns:
            How many ids were added.
        """
        keys = self._keys.pool(pool)
        checked_entries(entries, name="entries")
        unwanted = checked_ids(drop, name="drop")
        over = [keys.ready, keys.delayed, keys.inflight, keys.reserved, keys.score]
        added = 0
        for first in range(0, max(len(entries), len(unwanted)), PIECE):
            batch = entries[first : first + PIECE]
            args: list[str | int] = [self._keys.wake(pool), POLL_MS, len(batch)]
            for entry in batch:
                args += (entry.id, entry.score, entry.due_ms)
            added += await self._run("enqueue", over, [*args, *unwanted[first : first + PIECE]])
        return added

    async def claim(self, pool: str, *, token: str, count: int) -> Claim:
        """Take at most `count` (0 to 1000) of the best ids into flight, and make ready what has become due.

        After a time-out call again with the same token: for a minute it gets the ids that it took, and takes no
        others. An empty answer is not kept. Does not say whether a job still wants to run: its document does.
        """
        keys = self._keys.pool(pool)
        over = [keys.ready, keys.delayed, keys.inflight, keys.holder, keys.score, keys.paused, keys.claims]
        over.append(keys.claim(checked_token(token)))
        checked_number(count, name="count", high=MAX_BATCH)
        now_ms, paused, due, foreign, ids = await self._run(
            "claim", over, [token, count, PROMOTE_LATE_MS, CLAIM_ANSWER_MS]
        )
        if foreign:
            log.warning("queue.foreign_members_dropped", pool=pool, count=foreign)
        next_due_ms = whole(due)
        return Claim(
            ids=tuple(ids), next_due_ms=None if next_due_ms == -1 else next_due_ms, now_ms=now_ms, paused=paused == 1
        )

    async def settle(self, pool: str, ids: Sequence[str]) -> int:
        """Forget ids of jobs that are over, wherever they are.

        Returns:
            How many were there.
        """
        return await self.remove(pool, ids)

    async def remove(self, pool: str, ids: Sequence[str]) -> int:
        """The same as `settle`, for jobs that never ran or do not exist."""
        checked_ids(ids)
        return await self._forget(pool, ids)

    async def requeue(self, pool: str, entries: Sequence[Entry]) -> int:
        """Let ids wait again whose documents became `queued` again; never refused by the bound.

        Acts on an id only if it is absent, in flight under `entry.token`, or in flight under no token: anything else
        belongs to a later claim.

        Returns:
            How many ids moved.
        """
        keys = self._keys.pool(pool)
        checked_entries(entries, name="entries")
        over = [keys.ready, keys.delayed, keys.inflight, keys.reserved, keys.score, keys.holder]
        moved = 0
        for piece in pieces(entries):
            args: list[str | int] = [self._keys.wake(pool), POLL_MS, len(piece)]
            for entry in piece:
                args += (entry.id, entry.score, entry.due_ms, entry.token)
            moved += await self._run("requeue", over, args)
        return moved

    async def release(self, pool: str, entries: Sequence[Entry]) -> int:
        """`requeue`, due now whatever the entries say."""
        now = [Entry(id=entry.id, score=entry.score, due_ms=0, token=entry.token) for entry in entries]
        return await self.requeue(pool, now)

    async def putback(self, pool: str, *, token: str, verdicts: Sequence[Verdict]) -> int:
        """Place claimed ids that the truth refused, those that are still in flight under `token`.

        `delayed` without a later due time comes back after `PUTBACK_MS`. `leave` stays in flight under no token.

        Returns:
            How many ids were still in flight under `token`.
        """
        keys = self._keys.pool(pool)
        checked_token(token)
        checked_entries(verdicts, name="verdicts")
        over = [keys.delayed, keys.inflight, keys.holder, keys.score]
        moved = 0
        for piece in pieces(verdicts):
            args: list[str | int] = [token, PUTBACK_MS, len(piece)]
            for verdict in piece:
                args += (verdict.id, verdict.place, verdict.due_ms, verdict.score)
            moved += await self._run("putback", over, args)
        return moved

    async def promote(self, pool: str, *, limit: int = MAX_BATCH) -> int:
        """Make ready what is due, as every claim does, and wake who waits. Returns how many."""
        keys = self._keys.pool(pool)
        checked_number(limit, name="limit", low=1, high=10_000)
        over = [keys.ready, keys.delayed, keys.inflight, keys.score]
        promoted: int = await self._run("promote", over, [self._keys.wake(pool), PROMOTE_LATE_MS, limit])
        return promoted

    async def _forget(self, pool: str, ids: Sequence[str]) -> int:
        # Unchecked on purpose: foreign members are thrown away by this too.
        keys = self._keys.pool(pool)
        over = [keys.ready, keys.delayed, keys.inflight, keys.reserved, keys.holder, keys.score, keys.drained]
        gone = 0
        for piece in pieces(ids):
            gone += await self._run("remove", over, piece)
        return gone
