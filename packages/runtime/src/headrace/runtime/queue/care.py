"""The verbs of recovery: look at what is there, compare, place, declare complete."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

import structlog

from headrace.runtime.queue.base import MAX_BATCH, PUTBACK_MS, Entry, InFlight, Located, SetName, Verdict
from headrace.runtime.queue.calls import checked_entries, checked_ids, checked_number, is_id, pieces, whole
from headrace.runtime.queue.errors import translate
from headrace.runtime.queue.flow import FlowVerbs

_PLACES: tuple[SetName | None, ...] = (None, "inflight", "ready", "delayed", "reserved")

log = structlog.get_logger(__name__)


class CareVerbs(FlowVerbs):
    """What recovery calls. Reads throw away members that no id looks like, since nobody else ever could."""

    async def in_flight(self, pool: str, *, older_than_ms: int, limit: int, offset: int = 0) -> list[InFlight]:
        """Ids that have been in flight for at least `older_than_ms`, oldest first, at most `limit` (1 to 1000)."""
        keys = self._keys.pool(pool)
        checked_number(older_than_ms, name="older_than_ms")
        checked_number(limit, name="limit", low=1, high=MAX_BATCH)
        checked_number(offset, name="offset")
        flat = await self._run("in_flight", [keys.inflight, keys.holder], [older_than_ms, offset, limit])
        found = {flat[i]: InFlight(flat[i], whole(flat[i + 1]), flat[i + 2] or None) for i in range(0, len(flat), 3)}
        return [found[id_] for id_ in await self._without_foreign(pool, list(found))]

    async def members(self, pool: str, place: SetName, *, cursor: int, count: int) -> tuple[int, list[tuple[str, int]]]:
        """A part of one set, in no order. Start with cursor 0; the walk ends when 0 comes back.

        Ids that are there during the whole walk come at least once; others may come or not, and any may come twice.
        The number is the set's own: a place, a due time, a claim time or an expiry.
        """
        keys = self._keys.pool(pool)
        checked_number(cursor, name="cursor", high=2**64)
        checked_number(count, name="count", low=1, high=10_000)
        key = {
            "ready": keys.ready,
            "delayed": keys.delayed,
            "inflight": keys.inflight,
            "reserved": keys.reserved,
        }[place]
        with translate():
            following, pairs = await cast("Any", self._redis.zscan(key, cursor=cursor, count=count))
        found = {id_: whole(score) for id_, score in pairs}
        return int(following), [(id_, found[id_]) for id_ in await self._without_foreign(pool, list(found))]

    async def locate(self, pool: str, ids: Sequence[str]) -> list[Located]:
        """Where each id is, in the order asked."""
        keys = self._keys.pool(pool)
        wanted = checked_ids(ids)
        over = [keys.inflight, keys.ready, keys.delayed, keys.reserved, keys.holder]
        found: list[Located] = []
        for piece in pieces(wanted):
            for id_, (place, score, token) in zip(piece, await self._run("locate", over, piece), strict=True):
                number = whole(score) if place else None
                found.append(Located(id_, _PLACES[place], number, token or None))
        return found

    async def sweep(self, pool: str, *, seen: Sequence[InFlight], verdicts: Sequence[Verdict], min_age_ms: int) -> int:
        """Place ids that stayed in flight, those that still are exactly as `seen` and older than `min_age_ms`.

        A claim that lies further than that in the future counts as old: no clock of now wrote it.

        Verdicts about ids that are not in `seen` are ignored.

        Returns:
            How many ids were still as seen.
        """
        keys = self._keys.pool(pool)
        checked_entries(verdicts, name="verdicts")
        checked_number(min_age_ms, name="min_age_ms")
        as_read = {entry.id: entry for entry in seen}
        judged = [verdict for verdict in verdicts if verdict.id in as_read]
        over = [keys.delayed, keys.inflight, keys.holder, keys.score]
        moved = 0
        for piece in pieces(judged):
            args: list[str | int] = [min_age_ms, PUTBACK_MS, len(piece)]
            for verdict in piece:
                entry = as_read[verdict.id]
                args += (verdict.id, verdict.place, verdict.due_ms, verdict.score)
                args += (entry.claimed_ms, entry.token or "")
            moved += await self._run("sweep", over, args)
        return moved

    async def expired_reservations(self, pool: str, limit: int = MAX_BATCH) -> list[str]:
        """Ids whose places are past their time, longest first. They count until they are enqueued or freed."""
        checked_number(limit, name="limit", low=1, high=MAX_BATCH)
        ids = await self._run("expired", [self._keys.pool(pool).reserved], [limit])
        return await self._without_foreign(pool, ids)

    async def free(self, pool: str, ids: Sequence[str]) -> int:
        """Give up places, those past their time. Returns how many."""
        wanted = checked_ids(ids)
        freed = 0
        for piece in pieces(wanted):
            freed += await self._run("free", [self._keys.pool(pool).reserved], piece)
        return freed

    async def tidy(self, pool: str) -> int:
        """Throw away holders of ids that are not in flight, and places of ids that are not delayed.

        Returns:
            How many there were. In a Redis that nobody else writes to there are none.
        """
        keys = self._keys.pool(pool)
        gone = 0
        for key in (keys.holder, keys.score):
            cursor = 0
            while True:
                with translate():
                    cursor, entries = await cast("Any", self._redis.hscan(key, cursor=cursor, count=MAX_BATCH))
                for piece in pieces(list(entries)):  # unchecked: what is no id is in no set either
                    gone += await self._run("tidy", [keys.holder, keys.inflight, keys.score, keys.delayed], piece)
                if int(cursor) == 0:
                    break
        return gone

    async def refill(self, pool: str, waiting: Sequence[tuple[str, int]]) -> int:
        """Let ids wait that are due: (id, score). As `enqueue` does it, for hundreds of thousands.

        After an error any part of them may have been added, or may still be.

        Returns:
            How many ids were added.
        """
        keys = self._keys.pool(pool)
        over = [keys.ready, keys.delayed, keys.inflight, keys.reserved]
        two = asyncio.Semaphore(2)  # so that Redis takes one piece while the next is made; more would hold up claims

        async def send(piece: Sequence[tuple[str, int]]) -> int:
            async with two:
                checked_ids(job_id for job_id, _ in piece)
                text = json.dumps([part for job_id, score in piece for part in (job_id, str(score))])
                return cast("int", await self._run("refill", over, [self._keys.wake(pool), text]))

        return sum(await asyncio.gather(*(send(piece) for piece in pieces(waiting))))

    async def rescore(self, pool: str, entries: Sequence[Entry]) -> int:
        """Move ids that are ready to the place of their entry; delayed ones will be promoted to it. Adds none.

        Returns:
            How many were waiting.
        """
        keys = self._keys.pool(pool)
        checked_entries(entries, name="entries")
        changed = 0
        for piece in pieces(entries):
            args = [part for entry in piece for part in (entry.id, entry.score)]
            changed += await self._run("rescore", [keys.ready, keys.score], args)
        return changed

    async def begin_rebuild(self, pool: str) -> str:
        """A marker that stands until Redis loses something. Take it before the first id is read from the truth."""
        keys = self._keys.pool(pool)
        marker: str = await self._run("begin_rebuild", [keys.epoch, keys.rebuilding], [])
        return marker

    async def finish_rebuild(self, pool: str, marker: str, *, by_ms: int | None = None) -> bool:
        """Declare the pool complete, unless that is done only after `by_ms` of Redis' clock (see `time_ms`).

        A server that stood still does late what was asked before, when the caller has long given it up.

        Returns:
            False: something was lost since `marker` was given, or it was too late; look at the truth again.
        """
        keys = self._keys.pool(pool)
        until = "" if by_ms is None else checked_number(by_ms, name="by_ms")
        finished: int = await self._run("finish_rebuild", [keys.epoch, keys.rebuilding], [marker, until])
        return finished == 1

    async def _without_foreign(self, pool: str, ids: list[str]) -> list[str]:
        # What cannot be an id can be nobody's job, and it would count towards the bound for ever.
        foreign = [text for text in ids if not is_id(text)]
        if not foreign:
            return ids
        await self._forget(pool, foreign)
        log.warning("queue.foreign_members_dropped", pool=pool, count=len(foreign))
        return [text for text in ids if is_id(text)]
