"""The starvation guard: what has waited too long is lifted to the front rank. Not a change of state."""

from __future__ import annotations

from datetime import UTC, datetime

from headrace.contracts.job import SCORE_STEP, Priority
from headrace.contracts.states import JobState
from headrace.runtime.store.faults import reading, writing
from headrace.runtime.store.state_base import StateBase

_QUEUED = {"state": JobState.QUEUED.value}


class Boosting(StateBase):
    """Recovery's word on jobs that wait too long."""

    async def boost(self, pool: str, *, waited_seconds: float, now_ms: int, limit: int) -> list[tuple[str, int]]:
        """Lift due jobs of lower priority that have waited for `waited_seconds`, the oldest of each priority first.

        A job waits from its creation, or from the time it is due when that is later: a retry starts anew. One guarded
        update: what was claimed, cancelled or postponed meanwhile stays as it is. `score` changes with `boosted_at`,
        so it remains a function of the document, and every reader of the order agrees.

        Args:
            pool: The pool.
            waited_seconds: How long is too long.
            now_ms: The clock of the documents, for finding candidates; the update asks the server's own.
            limit: Jobs of one priority at most.

        Returns:
            The lifted jobs that still wait: (id, score).
        """
        ids = await self._waiting_since(pool, now_ms - int(waited_seconds * 1000), limit)
        if not ids:
            return []
        since = {"$max": ["$created_at", "$run_at"]}
        waited = {"$lte": [since, {"$subtract": ["$$NOW", int(waited_seconds * 1000)]}]}
        with writing("boost"):
            await self._jobs.update_many(
                {"_id": {"$in": ids}, **_QUEUED, "boosted_at": None, "$expr": waited},
                [{"$set": {"boosted_at": "$$NOW", "score": {"$toLong": "$created_at"}, "updated_at": "$$NOW"}}],
            )
        with reading("boosted jobs"):
            cursor = self._jobs.find({"_id": {"$in": ids}, **_QUEUED, "boosted_at": {"$ne": None}}, {"score": 1})
            return [(document["_id"], document["score"]) async for document in cursor]

    async def _waiting_since(self, pool: str, until_ms: int, limit: int) -> list[str]:
        # A place that was not lifted is rank and creation time, so the claim-order index has the candidates together.
        until = datetime.fromtimestamp(until_ms / 1000, UTC)
        found: list[str] = []
        for rank in (Priority.MEDIUM.rank, Priority.LOW.rank):
            places = {"$gte": rank * SCORE_STEP, "$lte": rank * SCORE_STEP + until_ms}
            with reading("starving jobs"):
                cursor = self._jobs.find(
                    {"pool": pool, **_QUEUED, "score": places, "run_at": {"$lte": until}}, {"_id": 1}
                )
                found += [document["_id"] async for document in cursor.sort("score", 1).limit(limit)]
        return found
