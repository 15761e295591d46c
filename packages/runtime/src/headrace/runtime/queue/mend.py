"""The verbs that mend what the index lost or holds in the wrong place; none of them takes an id away."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.runtime.queue.base import Entry, InFlight, Located
from headrace.runtime.queue.calls import MAX_NUMBER, checked_entries, checked_ids, checked_number, pieces
from headrace.runtime.queue.care import CareVerbs
from headrace.runtime.queue.flow import POLL_MS


class MendVerbs(CareVerbs):
    """What recovery calls after it has compared."""

    async def adopt(self, pool: str, entries: Sequence[InFlight]) -> int:
        """Put running jobs in flight that are nowhere, or only hold a place, under the token of their claim.

        An id that is ready, delayed or in flight stays as it is. Refused when Redis is full.

        Returns:
            How many ids were added.
        """
        keys = self._keys.pool(pool)
        checked_ids((entry.id for entry in entries), name="entries")
        for position, entry in enumerate(entries):
            checked_number(entry.claimed_ms, name=f"entries[{position}].claimed_ms")
        over = [keys.ready, keys.delayed, keys.inflight, keys.reserved, keys.holder]
        added = 0
        for piece in pieces(entries):
            args: list[str | int] = [len(piece)]
            for entry in piece:
                args += (entry.id, entry.claimed_ms, entry.token or "")
            added += await self._run("adopt", over, args)
        return added

    async def relocate(self, pool: str, moves: Sequence[tuple[Located, Entry]]) -> int:
        """Move waiting ids from where they were seen to where their entries say.

        Acts on an id only while it is in the same set with the same number. Only what was seen ready or delayed can
        be moved.

        Returns:
            How many ids were still as seen.

        Raises:
            ValueError: An id was seen elsewhere, or its entry is not usable.
        """
        keys = self._keys.pool(pool)
        checked_entries([entry for _, entry in moves], name="moves")
        for position, (seen, entry) in enumerate(moves):
            if seen.id != entry.id or seen.place not in ("ready", "delayed"):
                raise ValueError(f"moves[{position}] must be about an id that was seen ready or delayed")
        over = [keys.ready, keys.delayed, keys.score]
        moved = 0
        for piece in pieces(moves):
            args: list[str | int] = [self._keys.wake(pool), POLL_MS, len(piece)]
            for seen, entry in piece:
                number = max(-MAX_NUMBER, min(MAX_NUMBER, seen.score or 0))
                args += (entry.id, seen.place or "", number, entry.score, entry.due_ms)
            moved += await self._run("relocate", over, args)
        return moved
