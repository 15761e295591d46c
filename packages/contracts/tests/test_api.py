"""The views: exactly the keys of the HTTP API page, in its order."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from headrace.contracts.api import (
    HistoryView,
    JobList,
    JobSummary,
    JobTypeList,
    JobTypeView,
    JobView,
    PageList,
    PageView,
    Problem,
)
from headrace.contracts.job import Job, JobError, LogEntry, Progress
from headrace.contracts.states import JobState, Reason

NOW = datetime(2025, 3, 4, 5, 6, 7, 891_234, tzinfo=UTC)
TIME = "2025-03-04T05:06:07.891Z"
JOB_VIEW_KEYS = [
    "id",
    "type",
    "pool",
    "priority",
    "state",
    "indexed",
    "attempt",
    "failures",
    "crashes",
    "max_retries",
    "timeout_seconds",
    "created_at",
    "run_at",
    "claimed_at",
    "started_at",
    "finished_at",
    "progress",
    "checkpoint_at",
    "cancel_requested_at",
    "error",
    "tags",
    "owner",
    "unique_key",
    "replay_of",
    "discarded_at",
    "payload",
    "result",
]
ERROR = JobError(type="ValueError", message="no", fingerprint="f", at=NOW)


def job(**fields: Any) -> Job:
    basics = {
        "id": "0199", "type": "crawl", "pool": "crawl", "priority": 0, "state": JobState.PROCESSING, "attempt": 1,
        "max_retries": 3, "timeout_seconds": 3600, "payload": '{"a":1}', "run_at": NOW, "created_at": NOW,
        "updated_at": NOW, "owner": "w-1", "claim_token": "secret-token", "tenant": "t1", "submitted_by": "someone",
    }  # fmt: skip
    return Job.model_validate(basics | fields)


def written(view: Any) -> Any:
    return json.loads(view.model_dump_json(by_alias=True))


def test_the_job_view_has_the_keys_of_the_page_in_their_order() -> None:
    view = JobView(**JobSummary.of(job()).model_dump(), payload={"a": 1})
    assert list(written(view)) == JOB_VIEW_KEYS


def test_the_list_view_is_the_job_view_without_payload_and_result() -> None:
    listed = written(JobList(jobs=[JobSummary.of(job())], next_cursor=None))
    assert list(listed) == ["jobs", "next_cursor"]
    assert list(listed["jobs"][0]) == JOB_VIEW_KEYS[:-2]


def test_times_are_written_in_utc_with_milliseconds_and_a_z() -> None:
    view = written(JobSummary.of(job(claimed_at=NOW)))
    assert view["created_at"] == view["claimed_at"] == TIME
    assert view["finished_at"] is None


def test_parts_are_shown_with_their_own_keys() -> None:
    progress = Progress(fraction=0.42, message="210 of 500 pages", at=NOW)
    view = written(JobSummary.of(job(progress=progress, error=ERROR)))
    assert view["progress"] == {"fraction": 0.42, "message": "210 of 500 pages", "at": TIME}
    assert view["error"] == {"type": "ValueError", "message": "no", "fingerprint": "f", "at": TIME}
    assert list(view["error"]) == ["type", "message", "fingerprint", "at"]
    assert view["priority"] == "high"


def test_what_is_nobodys_business_is_not_shown() -> None:
    text = JobSummary.of(job()).model_dump_json()
    assert "secret-token" not in text
    assert "t1" not in text
    assert "someone" not in text


@pytest.mark.parametrize(
    ("state", "indexed", "shown"),
    [
        (JobState.QUEUED, True, True),
        (JobState.QUEUED, False, False),
        (JobState.PROCESSING, False, True),
        (JobState.COMPLETED, False, True),
    ],
)
def test_only_a_waiting_job_can_be_missing_from_redis(state: JobState, indexed: bool, shown: bool) -> None:
    assert JobSummary.of(job(state=state, indexed=indexed)).indexed is shown


def test_the_history_lists_steps_and_errors_with_the_keys_of_the_page() -> None:
    log = (
        LogEntry(seq=0, from_=None, to=JobState.QUEUED, attempt=0, at=NOW, reason=Reason.SUBMITTED, by="api"),
        LogEntry(
            seq=1, from_=JobState.QUEUED, to=JobState.PROCESSING, attempt=1, owner="w", at=NOW, reason=Reason.CLAIMED
        ),
    )
    view = written(HistoryView.of(job(log=log, errors=(ERROR,))))
    assert list(view) == ["transitions", "errors"]
    assert [list(step) for step in view["transitions"]] == [
        ["seq", "from", "to", "attempt", "owner", "at", "reason"]
    ] * 2
    first, second = view["transitions"]
    assert (first["from"], first["to"], first["owner"]) == (None, "queued", None)
    assert (second["from"], second["to"], second["attempt"]) == ("queued", "processing", 1)
    assert view["errors"][0]["type"] == "ValueError"


def test_pages_and_types_have_the_keys_of_the_page() -> None:
    page = PageView(url="u", final_url=None, state="done", status=200, depth=0, title=None, bytes=1, error=None)
    assert list(written(PageList(pages=[page], next_cursor=None))["pages"][0]) == (
        ["url", "final_url", "state", "status", "depth", "title", "bytes", "error"]
    )
    kind = JobTypeView(
        type="t", pool="p", payload_schema={}, timeout_seconds=1, max_retries=0, contract_version=1, workers=2
    )
    assert list(written(JobTypeList(types=[kind]))["types"][0]) == (
        ["type", "pool", "payload_schema", "timeout_seconds", "max_retries", "contract_version", "workers"]
    )


def test_a_problem_keeps_members_of_its_own() -> None:
    problem = Problem(type="/problems/x", title="X", status=409, detail="d", id="j1", limit=7)  # type: ignore[call-arg]
    assert problem.model_dump(exclude_none=True) == {
        "type": "/problems/x", "title": "X", "status": 409, "detail": "d", "id": "j1", "limit": 7,
    }  # fmt: skip


def test_a_view_has_no_other_fields() -> None:
    with pytest.raises(ValidationError, match="surprise"):
        PageList(pages=[], next_cursor=None, surprise=1)  # type: ignore[call-arg]
