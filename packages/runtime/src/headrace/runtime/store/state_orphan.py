"""Orphans: processing jobs whose owner is dead, found from the jobs and handed back with a guarded update."""

from __future__ import annotations

from typing import Any

from headrace.contracts.heartbeat import Incarnation
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store import updates
from headrace.runtime.store.documents import to_milliseconds
from headrace.runtime.store.faults import reading, writing
from headrace.runtime.store.incarnations import to_incarnation
from headrace.runtime.store.orphans import Orphan, OrphanDecision
from headrace.runtime.store.state_base import StateBase

_FIELDS = {
    "pool": 1,
    "attempt": 1,
    "owner": 1,
    "claim_token": 1,
    "crashes": 1,
    "checkpoint_attempt": 1,
    "score": 1,
    "run_at": 1,
    "type": 1,
    "tenant": 1,
    "claimed_at": 1,
}


class Orphaning(StateBase):
    """Recovery's part of the state changes."""

    async def orphans(self, workers: Any, *, limit: int) -> list[tuple[Orphan, Incarnation | None]]:
        """Processing jobs whose owner is marked dead or has no document, starting from the jobs.

        Starting from the deaths would miss an incarnation whose claim is applied after it was swept.

        Args:
            workers: The collection of incarnations.
            limit: Jobs at most.
        """
        with reading("orphans"):
            owners = await self._jobs.distinct(
                "owner", {"owner": {"$exists": True}, "state": JobState.PROCESSING.value}
            )
            known = {
                document["_id"]: document async for document in workers.find({"_id": {"$in": owners}}, {"types": 0})
            }
            dead = [owner for owner in owners if owner not in known or known[owner].get("dead_at") is not None]
            if not dead:
                return []
            cursor = self._jobs.find({"owner": {"$in": dead}, "state": JobState.PROCESSING.value}, _FIELDS).limit(limit)
            return [
                (_to_orphan(document), to_incarnation(known[document["owner"]]) if document["owner"] in known else None)
                async for document in cursor
            ]

    async def hand_back(self, orphan: Orphan, decision: OrphanDecision, *, by: str) -> JobState | None:
        """Apply a decision, if state, attempt and owner are still as read.

        Returns:
            The state the job is in now by this update; None when somebody else was faster (nothing was changed).
        """
        filter_ = updates.guarded(orphan.job_id, orphan.attempt, orphan.owner)
        extra: dict[str, Any] = {"crashes": decision.crashes}
        if decision.crashes != orphan.crashes or orphan.checkpoint_attempt == orphan.attempt:
            extra["expires_at"] = "$$REMOVE"  # it did start in time
        died = {} if decision.death is None else updates.keep_error("worker_died", decision.death)
        if decision.to is JobState.FAILED:
            message = f"the worker died {decision.crashes} times while it ran this job"
            if decision.death is not None:
                message += f"; the last time: {decision.death}"
            extra |= updates.ended_by(decision.reason.value, message)
        else:
            extra |= died
        for to, reason, condition in (
            (decision.to, decision.reason, updates.not_cancelled()),
            # A cancel that was accepted wins over everything.
            (JobState.CANCELLED, Reason.CANCELLED, {"cancel_requested_at": {"$ne": None}}),
        ):
            with writing("orphan"):
                result = await self._jobs.update_one(
                    filter_ | condition,
                    updates.leave(
                        to,
                        reason,
                        by=by,
                        keep_days=self._keep_days.get(to, 0),
                        extra=extra if to is decision.to else {"crashes": decision.crashes, **died},
                    ),
                )
            if result.matched_count:
                return to
        return None


def _to_orphan(document: dict[str, Any]) -> Orphan:
    return Orphan(
        job_id=document["_id"],
        pool=document["pool"],
        attempt=document["attempt"],
        owner=document["owner"],
        claim_token=document.get("claim_token") or "",
        crashes=document["crashes"],
        checkpoint_attempt=document.get("checkpoint_attempt"),
        score=document["score"],
        run_at_ms=to_milliseconds(document["run_at"]),
        type=document["type"],
        tenant=document.get("tenant"),
        claimed_at=document.get("claimed_at"),
    )
