"""What a running attempt writes: progress and checkpoints, behind the one guarded filter."""

from __future__ import annotations

from typing import Any

from headrace.contracts.errors import JobCancelled, LeaseLost
from headrace.contracts.job import JsonText
from headrace.contracts.states import JobState
from headrace.runtime.store import updates
from headrace.runtime.store.faults import reading, writing
from headrace.runtime.store.state_base import StateBase
from headrace.runtime.store.values import OwnJob


class Running(StateBase):
    """Writes and reads of attempts under way."""

    async def save_progress(
        self, job_id: str, attempt: int, owner: str, *, fraction: float, message: str, started_ms_ago: int | None
    ) -> None:
        """Save how far an attempt is.

        Raises:
            LeaseLost: The attempt no longer counts.
            JobCancelled: A cancel was asked for; the progress was not saved.
        """
        progress = {"fraction": fraction, "message": updates.literal(message), "at": "$$NOW"}
        await self._save(job_id, attempt, owner, {"progress": progress, **updates.started(started_ms_ago)})

    async def save_checkpoint(
        self, job_id: str, attempt: int, owner: str, checkpoint: JsonText, *, started_ms_ago: int | None
    ) -> None:
        """Save where the next attempt may go on from; durable when it returns.

        Raises:
            LeaseLost: The attempt no longer counts.
            JobCancelled: A cancel was asked for; the checkpoint was not saved.
        """
        fields = {
            "checkpoint": updates.literal(checkpoint),
            "checkpoint_at": "$$NOW",
            "checkpoint_attempt": attempt,
            **updates.started(started_ms_ago),
        }
        await self._save(job_id, attempt, owner, fields)

    async def _save(self, job_id: str, attempt: int, owner: str, fields: dict[str, Any]) -> None:
        with writing("save"):
            result = await self._jobs.update_one(
                updates.guarded(job_id, attempt, owner) | updates.not_cancelled(), [{"$set": fields}]
            )
        if result.matched_count:
            return
        with reading("own job"):
            document = await self._jobs.find_one(updates.guarded(job_id, attempt, owner), {"cancel_requested_at": 1})
        if document is None:
            raise LeaseLost(f"attempt {attempt} of {job_id} no longer counts")
        raise JobCancelled(f"a cancel of {job_id} was asked for")

    async def owned(self, owner: str) -> list[OwnJob]:
        """What MongoDB says an incarnation owns, read from a majority: the own-jobs audit."""
        with reading("own jobs"):
            cursor = self._jobs.find(
                {"owner": owner, "state": JobState.PROCESSING.value},
                {"attempt": 1, "claim_token": 1, "cancel_requested_at": 1, "score": 1},
            )
            return [
                OwnJob(
                    job_id=document["_id"],
                    attempt=document["attempt"],
                    claim_token=document.get("claim_token"),
                    cancel_requested=document.get("cancel_requested_at") is not None,
                    score=document["score"],
                )
                async for document in cursor
            ]
