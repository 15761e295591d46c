"""The job view, spelled out by hand, says what the model says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest

from headrace.contracts.api import JobSummary, JobView
from headrace.contracts.job import JobError, Priority, Progress
from headrace.contracts.states import JobState
from headrace.scheduler.views import job_view
from headrace.testing.builders import make_job

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
ERROR = JobError(type="E", message="m", fingerprint="f", at=AT)
CASES = [
    {},
    {"timeout_seconds": 60, "indexed": False},
    {"state": JobState.COMPLETED, "indexed": False, "result": "1e2", "finished_at": AT, "payload": '{"n": 1.00}'},
    {
        "state": JobState.FAILED, "priority": Priority.LOW, "claimed_at": AT, "started_at": AT, "finished_at": AT,
        "progress": Progress(fraction=1, message="m", at=AT), "checkpoint_at": AT, "cancel_requested_at": AT,
        "error": ERROR, "tags": {"a": "b"}, "owner": "w", "unique_key": "u", "replay_of": "r", "discarded_at": AT,
    },
]  # fmt: skip


@pytest.mark.parametrize("fields", CASES)
def test_the_view_is_what_the_model_says(fields):
    job = make_job(**fields)
    text = msgspec.json.encode(job_view(job)).decode()
    shown = json.loads(text)
    bodies = {"payload": json.loads(job.payload), "result": None if job.result is None else json.loads(job.result)}
    assert shown == JobSummary.of(job).model_dump(mode="json") | bodies
    assert list(shown) == list(JobView.model_fields)
    assert f'"payload":{job.payload}' in text
