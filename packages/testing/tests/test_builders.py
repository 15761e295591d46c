from __future__ import annotations

import uuid

from headrace.contracts.job import Priority
from headrace.contracts.states import JobState
from headrace.testing.builders import make_job, make_job_id


def test_ids_are_uuids_of_version_seven_in_the_order_of_the_calls() -> None:
    ids = [make_job_id() for _ in range(500)]
    assert len(set(ids)) == 500
    assert {uuid.UUID(text).version for text in ids} == {7}
    assert all(str(uuid.UUID(text)) == text for text in ids)


def test_a_built_job_is_queued_due_and_has_begun_its_log() -> None:
    job = make_job()
    assert (job.state, job.attempt, job.run_at) == (JobState.QUEUED, 0, job.created_at)
    assert [(entry.seq, entry.from_, entry.to) for entry in job.log] == [(0, None, JobState.QUEUED)]
    assert job.created_at.microsecond % 1000 == 0, "as MongoDB keeps it"


def test_only_what_matters_is_named() -> None:
    job = make_job(priority=Priority.HIGH, type="x", attempt=3)
    assert (job.priority, job.type, job.attempt, job.pool) == (0, "x", 3, "default")
