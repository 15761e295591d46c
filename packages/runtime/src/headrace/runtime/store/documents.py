"""Between the `Job` value and its MongoDB document.

Payload, result and checkpoint are text in both: MongoDB never looks into what users send.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from headrace.contracts.job import Job

STORE_ONLY = ("score", "expire_at")
"""Fields of the document alone. `score` repeats `Job.ready_score` so that one index serves the claim order; `expire_at`
is set by terminal updates only, so the TTL index can touch nothing else."""

# Absent instead of null: the partial indexes test for existence, and absent fields cost nothing.
_OMIT_WHEN_NONE = frozenset(
    {
        "owner",
        "claim_token",
        "boosted_at",
        "expires_at",
        "claimed_at",
        "started_at",
        "finished_at",
        "progress",
        "checkpoint",
        "checkpoint_at",
        "checkpoint_attempt",
        "result",
        "error",
        "cancel_requested_at",
        "idempotency",
        "unique_key",
        "tenant",
        "submitted_by",
        "traceparent",
        "replay_of",
        "replayed_by",
        "discarded_at",
    }
)


def to_document(job: Job) -> dict[str, Any]:
    """The document that stores the job."""
    document: dict[str, Any] = {"_id": job.id}
    for name, value in job.model_dump(by_alias=True, exclude={"id"}).items():
        if value is None and name in _OMIT_WHEN_NONE:
            continue
        document[name] = value
    document["state"] = job.state.value
    document["log"] = [
        {**entry.model_dump(by_alias=True), "from": entry.from_ and entry.from_.value, "to": entry.to.value,
         "reason": entry.reason.value}
        for entry in job.log
    ]  # fmt: skip
    document["errors"] = [error.model_dump() for error in job.errors]
    document["score"] = job.ready_score
    return document


def to_job(document: dict[str, Any]) -> Job:
    """The value of a stored document, which may be a projection without log, payload, result or checkpoint."""
    fields = {name: value for name, value in document.items() if name not in STORE_ONLY}
    fields["id"] = fields.pop("_id")
    fields.setdefault("payload", "null")
    return Job.model_validate(fields)


def to_milliseconds(moment: datetime) -> int:
    """A stored time in milliseconds since 1970."""
    return int(moment.timestamp() * 1000 + 0.5)
