"""Cancels: one update decides whether the job ends now or its worker is asked to end it."""

from __future__ import annotations

from typing import Any

from pymongo import ReturnDocument

from headrace.contracts.errors import NotFoundError
from headrace.contracts.job import Job
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store import updates
from headrace.runtime.store.documents import to_job
from headrace.runtime.store.faults import reading, writing
from headrace.runtime.store.state_base import StateBase
from headrace.runtime.store.values import CancelVerdict


class Cancelling(StateBase):
    """Cancels."""

    async def cancel(self, job_id: str, *, tenant: str | None = None, by: str) -> tuple[Job, CancelVerdict]:
        """Cancel a job: at once while it waits, by request while it runs. One update decides.

        Raises:
            NotFoundError: There is no such job, or not for this tenant.
            StoreUnavailableError, OutcomeUnknownError: Asking again is safe.
        """
        scope = {"_id": job_id} | ({"tenant": tenant} if tenant is not None else {})
        waiting = {"$eq": ["$state", JobState.QUEUED.value]}
        fields: dict[str, Any] = {}
        queued_fields = updates.leave(
            JobState.CANCELLED, Reason.CANCELLED, by=by, keep_days=self._keep_days[JobState.CANCELLED]
        )[0]["$set"]
        for name, expression in queued_fields.items():
            kept = "$$REMOVE" if name in {"expire_at", "finished_at"} else f"${name}"
            fields[name] = {"$cond": [waiting, expression, kept]}
        fields["cancel_requested_at"] = {"$ifNull": ["$cancel_requested_at", "$$NOW"]}
        with writing("cancel"):
            document = await self._jobs.find_one_and_update(
                scope | {"state": {"$in": [JobState.QUEUED.value, JobState.PROCESSING.value]}},
                [{"$set": fields}],
                return_document=ReturnDocument.AFTER,
            )
        if document is not None:
            job = to_job(document)
            return job, CancelVerdict.CANCELLED if job.state is JobState.CANCELLED else CancelVerdict.REQUESTED
        with reading("job"):
            document = await self._jobs.find_one(scope)
        if document is None:
            raise NotFoundError("there is no such job")
        job = to_job(document)
        if job.state is JobState.CANCELLED:
            return job, CancelVerdict.ALREADY_CANCELLED
        return job, CancelVerdict.ALREADY_OVER
