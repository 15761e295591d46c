"""Running jobs that nobody ended although somebody had to: recovery is the last to do it, and asks the clock again.

Who ends a run first is its child (soft limit, cancel flag), then its supervisor (hard limit). What is found here was
left by a supervisor that lives and renews and yet does neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import ReturnDocument

from headrace.contracts.states import JobState, Reason
from headrace.runtime.store import updates
from headrace.runtime.store.documents import to_milliseconds
from headrace.runtime.store.faults import reading, writing
from headrace.runtime.store.state_base import StateBase

_FIELDS = dict.fromkeys(
    (
        "pool",
        "type",
        "tenant",
        "attempt",
        "owner",
        "claim_token",
        "score",
        "run_at",
        "failures",
        "max_retries",
        "timeout_seconds",
    ),
    1,
)
_RUNNING: dict[str, Any] = {"owner": {"$exists": True}, "state": JobState.PROCESSING.value}


@dataclass(frozen=True)
class Overdue:
    """A processing job as it was read, whose end is overdue."""

    job_id: str
    pool: str
    type: str
    tenant: str | None
    attempt: int
    owner: str
    claim_token: str
    score: int
    failures: int
    max_retries: int
    timeout_seconds: float


class Ending(StateBase):
    """Recovery's ends of runs. The filters name state, attempt and owner as read, and the server's clock decides."""

    async def overrunning(self, *, slack_ms: int, limit: int) -> list[Overdue]:
        """Processing jobs claimed longer ago than their time-out and `slack_ms`."""
        return await self._overdue("overrunning jobs", _ran_longer(slack_ms), limit)

    async def cancels_unanswered(self, *, grace_ms: int, limit: int) -> list[Overdue]:
        """Processing jobs that were asked to cancel longer than `grace_ms` ago."""
        return await self._overdue("unanswered cancels", _asked_before(grace_ms), limit)

    async def time_out(
        self, job: Overdue, *, to: JobState, delay_ms: int | None, slack_ms: int, message: str, by: str
    ) -> tuple[JobState, int] | None:
        """End an attempt that ran too long; it counts as a failure. An accepted cancel wins.

        Returns:
            The state it is in by this update and when it is due, in milliseconds since 1970; None when somebody else
            ended it, or the server's clock says that there is time left.
        """
        # It did start in time, whatever it did then.
        failure = {"failures": {"$add": ["$failures", 1]}, "expires_at": "$$REMOVE"}
        failure |= updates.ended_by(Reason.TIMEOUT.value, message)
        ended = await self._end(
            job,
            updates.not_cancelled() | _ran_longer(slack_ms),
            to=to,
            reason=Reason.TIMEOUT,
            by=by,
            delay_ms=delay_ms,
            extra=failure,
        )
        return ended or await self._cancel(job, _ran_longer(slack_ms), by=by)

    async def complete_cancel(self, job: Overdue, *, grace_ms: int, by: str) -> tuple[JobState, int] | None:
        """Carry out a cancel that was accepted and that the job's worker does not carry out. Returns as `time_out`."""
        return await self._cancel(job, _asked_before(grace_ms), by=by)

    async def _cancel(self, job: Overdue, condition: Mapping[str, Any], *, by: str) -> tuple[JobState, int] | None:
        return await self._end(
            job,
            {"cancel_requested_at": {"$ne": None}, **condition},
            to=JobState.CANCELLED,
            reason=Reason.CANCELLED,
            by=by,
        )

    async def _end(
        self,
        job: Overdue,
        condition: Mapping[str, Any],
        *,
        to: JobState,
        reason: Reason,
        by: str,
        delay_ms: int | None = None,
        extra: dict[str, Any] | None = None,
    ) -> tuple[JobState, int] | None:
        with writing("overdue"):
            document = await self._jobs.find_one_and_update(
                updates.guarded(job.job_id, job.attempt, job.owner) | dict(condition),
                updates.leave(to, reason, by=by, keep_days=self._keep_days.get(to, 0), delay_ms=delay_ms, extra=extra),
                {"run_at": 1},
                return_document=ReturnDocument.AFTER,
            )
        return None if document is None else (to, to_milliseconds(document["run_at"]))

    async def _overdue(self, what: str, condition: Mapping[str, Any], limit: int) -> list[Overdue]:
        with reading(what):
            # By the index on owners: it holds running jobs only.
            cursor = self._jobs.find(_RUNNING | dict(condition), _FIELDS).hint("held_by").limit(limit)
            return [_to_overdue(document) async for document in cursor]


def _ran_longer(slack_ms: int) -> dict[str, Any]:
    # A document without the time of its claim is not ours to judge: "now" makes it young.
    claimed = {"$ifNull": ["$claimed_at", "$$NOW"]}
    end = {"$add": [claimed, {"$multiply": ["$timeout_seconds", 1000]}, slack_ms]}
    return {"$expr": {"$lt": [end, "$$NOW"]}}


def _asked_before(grace_ms: int) -> dict[str, Any]:
    asked = {"$ifNull": ["$cancel_requested_at", "$$NOW"]}
    return {"$expr": {"$lt": [{"$add": [asked, grace_ms]}, "$$NOW"]}}


def _to_overdue(document: dict[str, Any]) -> Overdue:
    return Overdue(
        job_id=document["_id"],
        pool=document["pool"],
        type=document["type"],
        tenant=document.get("tenant"),
        attempt=document["attempt"],
        owner=document["owner"],
        claim_token=document.get("claim_token") or "",
        score=document["score"],
        failures=document["failures"],
        max_retries=document["max_retries"],
        timeout_seconds=document["timeout_seconds"],
    )
