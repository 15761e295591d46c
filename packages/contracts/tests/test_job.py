"""Jobs as values: their order among the waiting ones, and what a frozen value promises."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.contracts.job import SCORE_STEP, Job, LogEntry, Priority, ready_score
from headrace.contracts.states import JobState, Reason

NOW = datetime(2025, 3, 4, 5, 6, 7, 891_000, tzinfo=UTC)
YEAR_2248 = 8_796_093_022_207
ranks = st.integers(0, 2)
moments = st.integers(0, YEAR_2248)


def job(**fields: object) -> Job:
    basics = {
        "id": "j", "type": "t", "pool": "p", "priority": 1, "state": JobState.QUEUED, "max_retries": 3,
        "timeout_seconds": 60, "payload": "{}", "run_at": NOW, "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    return Job.model_validate(basics | fields)


@given(ranks, moments, ranks, moments)
def test_jobs_wait_in_the_order_of_priority_and_then_of_age(rank: int, ms: int, other_rank: int, other_ms: int) -> None:
    mine, other = ready_score(rank, ms), ready_score(other_rank, other_ms)
    assert (mine < other) is ((rank, ms) < (other_rank, other_ms))


@given(ranks, moments, st.booleans())
def test_a_score_is_exact_as_a_double(rank: int, ms: int, boosted: bool) -> None:
    score = ready_score(rank, ms, boosted=boosted)
    assert int(float(score)) == score < 2**53
    assert score % SCORE_STEP == ms


@given(ranks, moments)
def test_a_boosted_job_waits_among_the_high_ones_by_its_age(rank: int, ms: int) -> None:
    assert ready_score(rank, ms, boosted=True) == ready_score(0, ms)


def test_the_score_of_a_job_comes_from_its_document_alone() -> None:
    ms = round(NOW.timestamp() * 1000)
    assert job(priority=2).ready_score == 2 * SCORE_STEP + ms
    assert job(priority=2, boosted_at=NOW + timedelta(hours=1)).ready_score == ms
    assert job(run_at=NOW + timedelta(seconds=1)).run_at_ms == ms + 1000


@given(st.integers(0, YEAR_2248))
def test_milliseconds_survive_the_way_through_a_datetime(ms: int) -> None:
    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)
    assert job(priority=0, created_at=moment, run_at=moment).ready_score == ms
    assert job(run_at=moment).run_at_ms == ms


@pytest.mark.parametrize("priority", Priority)
def test_priority_and_rank_name_each_other(priority: Priority) -> None:
    assert Priority.of_rank(priority.rank) is priority
    assert [item.rank for item in (Priority.HIGH, Priority.MEDIUM, Priority.LOW)] == [0, 1, 2]


def test_a_job_does_not_change_and_evolve_makes_another() -> None:
    first = job()
    with pytest.raises(ValidationError, match="frozen"):
        first.attempt = 2  # type: ignore[misc]
    assert first.evolve(attempt=2).attempt == 2
    assert first.attempt == 0


@pytest.mark.parametrize("priority", [-1, 3])
def test_there_are_three_ranks(priority: int) -> None:
    with pytest.raises(ValidationError):
        job(priority=priority)


def test_unknown_fields_of_a_document_are_refused() -> None:
    with pytest.raises(ValidationError, match="surprise"):
        job(surprise=1)


def test_a_log_entry_reads_and_writes_the_word_from() -> None:
    fields = {"seq": 0, "from": None, "to": "queued", "attempt": 0, "at": NOW, "reason": "submitted"}
    entry = LogEntry.model_validate(fields)
    assert entry.from_ is None
    assert entry.reason is Reason.SUBMITTED
    assert "from" in entry.model_dump(by_alias=True)
