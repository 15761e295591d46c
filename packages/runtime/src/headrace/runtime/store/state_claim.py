"""Claims: from `queued` to `processing`, and what to do with ids that are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.contracts.job import Job
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store import updates
from headrace.runtime.store.documents import to_job, to_milliseconds
from headrace.runtime.store.faults import reading, writing
from headrace.runtime.store.state_base import StateBase
from headrace.runtime.store.values import Place

CLAIM_SECONDS = 5.0
"""A claim's deadline; the in-flight sweep leaves ids alone until well after it."""
CLAIM_BATCH = 1000
"""A whole claim in the first answer: the driver's default of 101 would cost a second round trip."""
PLACE_FIELDS = dict.fromkeys(
    ("state", "score", "run_at", "expires_at", "type", "contract_version", "owner", "claim_token"), 1
)


class Claiming(StateBase):
    """Claims and judgements."""

    async def claim(
        self,
        job_ids: Sequence[str],
        *,
        token: str,
        owner: str,
        types: Sequence[str],
        versions: Mapping[str, int] | None = None,
    ) -> list[Job]:
        """Claim what may be claimed among `job_ids`, and return exactly that.

        A job is started only from this answer: it was read back from a majority with state, owner and token.

        Args:
            job_ids: The candidates.
            token: Of this claim.
            owner: The incarnation that claims.
            types: The job types it knows.
            versions: The newest payload version it knows of a type; a type that is not in it has no limit.

        Raises:
            StoreUnavailableError, OutcomeUnknownError: Resolve with `claimed` before the ids are put back.
        """
        with writing("claim", seconds=CLAIM_SECONDS):
            await self._jobs.update_many(
                {
                    "_id": {"$in": list(job_ids)},
                    "state": JobState.QUEUED.value,
                    "type": {"$in": list(types)},
                    "cancel_requested_at": None,
                    **_not_newer(versions),
                    "$expr": {
                        "$and": [
                            {"$lte": ["$run_at", "$$NOW"]},
                            {"$gt": [{"$ifNull": ["$expires_at", {"$add": ["$$NOW", 1]}]}, "$$NOW"]},
                        ]
                    },
                },
                updates.claim(token=token, owner=owner),
            )
        return await self.claimed(token=token, owner=owner)

    async def claimed(self, *, token: str, owner: str) -> list[Job]:
        """The jobs that this owner holds under this token, read from a majority, in claim order."""
        with reading("claimed jobs", seconds=CLAIM_SECONDS):
            cursor = self._jobs.find(
                {"owner": owner, "claim_token": token, "state": JobState.PROCESSING.value},
                {"log": 0, "errors": 0, "result": 0},
                batch_size=CLAIM_BATCH,
            )
            documents = [document async for document in cursor]
        documents.sort(key=lambda document: document["score"])
        return [to_job(document) for document in documents]

    async def places(self, job_ids: Sequence[str]) -> list[Place]:
        """Where each id belongs, read from a majority and judged by the server's clock."""
        with reading("places"):
            cursor = self._jobs.aggregate(
                [
                    {"$match": {"_id": {"$in": list(job_ids)}}},
                    {
                        "$project": {
                            **PLACE_FIELDS,
                            "due": {"$lte": ["$run_at", "$$NOW"]},
                            "expired": {"$lte": [{"$ifNull": ["$expires_at", {"$add": ["$$NOW", 1]}]}, "$$NOW"]},
                        }
                    },
                ]
            )
            found = {document["_id"]: document async for document in cursor}
        return [to_place(job_id, found.get(job_id)) for job_id in job_ids]

    async def expire(self, job_ids: Sequence[str]) -> int:
        """Fail the queued jobs among these that had to start by a time that is over. Returns how many."""
        with writing("expire"):
            result = await self._jobs.update_many(
                {
                    "_id": {"$in": list(job_ids)},
                    "state": JobState.QUEUED.value,
                    "expires_at": {"$exists": True},
                    "$expr": {"$lte": ["$expires_at", "$$NOW"]},
                },
                updates.leave(
                    JobState.FAILED,
                    Reason.EXPIRED,
                    by="expiry",
                    keep_days=self._keep_days[JobState.FAILED],
                    extra=updates.ended_by("expired", "not started in time"),
                ),
            )
        return int(result.modified_count)


def to_place(job_id: str, document: dict[str, Any] | None) -> Place:
    """The place of an id, from a document with `PLACE_FIELDS`, `due` and `expired`, or from none."""
    if document is None:
        return Place(job_id, None)
    return Place(
        job_id=job_id,
        state=JobState(document["state"]),
        score=document["score"],
        run_at_ms=to_milliseconds(document["run_at"]),
        due=document["due"],
        expired=document["expired"],
        type=document["type"],
        contract_version=document["contract_version"],
        owner=document.get("owner"),
        claim_token=document.get("claim_token"),
    )


def _not_newer(versions: Mapping[str, int] | None) -> dict[str, Any]:
    """Filter part: the payload is of a version that the claimer knows."""
    if not versions:
        return {}
    return {"$nor": [{"type": name, "contract_version": {"$gt": newest}} for name, newest in versions.items()]}
