"""A job's document, spelled out by hand, says what the model says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.contracts.job import Idempotency, Job, JobError, LogEntry, Progress
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store.documents import to_document, to_job
from headrace.testing.builders import make_job

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
ERROR = JobError(type="E", message="m", fingerprint="f", at=AT)
FULL: dict[str, Any] = {
    "owner": "w-1",
    "claim_token": "t",
    "boosted_at": AT,
    "expires_at": AT,
    "claimed_at": AT,
    "started_at": AT,
    "finished_at": AT,
    "progress": Progress(fraction=0.5, message="half", at=AT),
    "checkpoint": "{}",
    "checkpoint_at": AT,
    "checkpoint_attempt": 1,
    "result": "1",
    "error": ERROR,
    "errors": (ERROR, ERROR),
    "cancel_requested_at": AT,
    "idempotency": Idempotency(scope="s", key="k", digest="d"),
    "unique_key": "u",
    "tags": {"a": "b"},
    "tenant": "red",
    "submitted_by": "s",
    "traceparent": "p",
    "replay_of": "o",
    "replayed_by": "n",
    "discarded_at": AT,
    "indexed": False,
    "log_dropped": 3,
}
LATER = LogEntry(from_=JobState.QUEUED, to=JobState.CANCELLED, seq=1, attempt=1, at=AT, reason=Reason.CANCELLED)


def of_model(job: Job) -> dict[str, Any]:
    """What a dump of the model gives, in the store's spelling: its values as plain ones, no empty field."""
    kept = {"from", "owner", "by"}

    def plain(value: Any, inside: bool = False) -> Any:
        if isinstance(value, dict):
            return {
                name: plain(item, inside=True)
                for name, item in value.items()
                if item is not None or (inside and name in kept)
            }
        if isinstance(value, list | tuple):
            return [plain(item, inside=True) for item in value]
        return value.value if isinstance(value, JobState | Reason) else value

    document = plain(job.model_dump(by_alias=True))
    document["_id"] = document.pop("id")
    return document | {"score": job.ready_score}


def test_the_test_fills_every_field() -> None:
    always = {"id", "type", "pool", "priority", "state", "attempt", "failures", "crashes", "max_retries", "payload"}
    always |= {"timeout_seconds", "contract_version", "run_at", "created_at", "updated_at", "log"}
    assert set(FULL) | always == set(Job.model_fields)


@pytest.mark.parametrize("fields", [{}, *({name: value} for name, value in FULL.items()), FULL])
def test_the_document_is_what_a_dump_of_the_model_says(fields: dict[str, Any]) -> None:
    job = make_job(**fields)
    job = job.evolve(log=(*job.log, LATER))
    assert to_document(job) == of_model(job)
    assert to_job(to_document(job)) == job


def test_a_copy_with_other_values_is_a_whole_job() -> None:
    job = make_job(**FULL)
    twin = job.evolve(state=JobState.FAILED, tags={})
    assert twin == Job.model_validate(job.model_dump() | {"state": JobState.FAILED, "tags": {}})
    assert (job.state, job.tags) == (JobState.QUEUED, {"a": "b"})
    assert twin.model_copy() == twin


def test_fields_of_a_newer_version_do_not_make_a_job_unreadable() -> None:
    job = make_job()
    assert to_job({**to_document(job), "colour": "blue"}) == job
