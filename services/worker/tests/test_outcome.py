"""Every way an executor can end, as the settlement it becomes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.errors import JobCancelled, LeaseLost, PermanentError, Retry
from headrace.contracts.job import Job
from headrace.contracts.retry import RetryPolicy
from headrace.contracts.states import JobState, Reason, is_legal
from headrace.runtime.store.values import Settlement
from headrace.testing.builders import make_job
from headrace.worker import outcome
from headrace.worker.outcome import JobTimeout, ResultError

POLICY = RetryPolicy(base_seconds=2, factor=2, cap_seconds=100)


class MuteError(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class OddError(Exception):
    pass


def running(**fields: Any) -> Job:
    return make_job(state=JobState.PROCESSING, attempt=3, owner="w-1", **fields)


def fail(error: BaseException, *, jitter: float = 0.5, **fields: Any) -> Settlement:
    return outcome.failed(running(**fields), error, policy=POLICY, jitter=jitter, started_ms_ago=7)


@pytest.mark.parametrize(
    ("error", "fields", "to", "reason", "delay_ms"),
    [
        (RuntimeError("x"), {}, "queued", "retry", 1000),
        (RuntimeError("x"), {"failures": 2}, "queued", "retry", 4000),
        (RuntimeError("x"), {"failures": 3}, "failed", "failed", None),
        (RuntimeError("x"), {"max_retries": 0}, "failed", "failed", None),
        (KeyboardInterrupt(), {}, "queued", "retry", 1000),
        (SystemExit(3), {}, "queued", "retry", 1000),
        (MuteError(), {}, "queued", "retry", 1000),
        (PermanentError("no"), {}, "failed", "failed", None),
        (ResultError("no"), {}, "failed", "failed", None),
        (Retry("later"), {}, "queued", "retry", 1000),
        (Retry("later", delay_seconds=0), {}, "queued", "retry", 0),
        (Retry("later", delay_seconds=12.5), {}, "queued", "retry", 12_500),
        (Retry("later", delay_seconds=-4), {}, "queued", "retry", 0),
        (Retry("later", delay_seconds=12.5), {"failures": 3}, "failed", "failed", None),
        (JobTimeout("slow"), {}, "queued", "timeout", 1000),
        (JobTimeout("slow"), {"failures": 3}, "failed", "timeout", None),
        (TimeoutError("of the job's own"), {}, "queued", "retry", 1000),
    ],
)
def test_an_error_becomes_a_retry_or_the_end(
    error: BaseException, fields: dict[str, Any], to: str, reason: str, delay_ms: int | None
) -> None:
    settlement = fail(error, **fields)
    assert (settlement.to, settlement.reason, settlement.delay_ms) == (to, reason, delay_ms)
    assert settlement.counts_failure
    assert settlement.started_ms_ago == 7
    assert settlement.attempt == 3
    assert settlement.error is not None
    assert is_legal(JobState.PROCESSING, settlement.to)


@pytest.mark.parametrize("delay", [math.inf, -math.inf, math.nan, 1e300, 10**400, "soon", [1]])
def test_a_delay_that_no_calendar_holds_still_leads_to_a_settlement(delay: Any) -> None:
    settlement = fail(Retry("later", delay_seconds=delay))
    assert settlement.to is JobState.QUEUED
    assert settlement.delay_ms is not None
    assert 0 <= settlement.delay_ms <= outcome.MAX_DELAY_SECONDS * 1000


@given(failures=st.integers(0, 200), limit=st.integers(0, 100), jitter=st.floats(0, 1))
def test_a_job_is_retried_exactly_as_often_as_allowed_and_never_later_than_the_cap(
    failures: int, limit: int, jitter: float
) -> None:
    settlement = fail(RuntimeError(), failures=failures, max_retries=limit, jitter=jitter)
    assert (settlement.to is JobState.QUEUED) == (failures < limit)
    if settlement.to is JobState.QUEUED:
        assert settlement.delay_ms is not None
        assert 0 <= settlement.delay_ms <= POLICY.cap_seconds * 1000


def test_a_retry_policy_that_grows_beyond_all_numbers_waits_for_its_cap() -> None:
    policy = RetryPolicy(base_seconds=1, factor=1e200, cap_seconds=60)
    settlement = outcome.failed(
        running(failures=3, max_retries=100), OddError(), policy=policy, jitter=1, started_ms_ago=None
    )
    assert settlement.delay_ms == 60_000


def test_the_attempt_is_never_compared_with_the_retry_limit() -> None:
    job = running(max_retries=1).evolve(attempt=50)
    settlement = outcome.failed(job, RuntimeError(), policy=POLICY, jitter=0, started_ms_ago=None)
    assert settlement.to is JobState.QUEUED


def test_the_other_endings_cost_nothing_and_are_legal() -> None:
    job = running()
    for settlement, to, reason in (
        (outcome.completed(job, "1", started_ms_ago=5, progress=(1.0, "done")), JobState.COMPLETED, Reason.COMPLETED),
        (outcome.released(job), JobState.QUEUED, Reason.RELEASED),
        (outcome.cancelled(job, started_ms_ago=1), JobState.CANCELLED, Reason.CANCELLED),
    ):
        assert (settlement.to, settlement.reason) == (to, reason)
        assert not settlement.counts_failure
        assert settlement.error is None
        assert settlement.delay_ms is None
        assert is_legal(JobState.PROCESSING, to)


# -- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError("x"), "ValueError"),
        (PermanentError("x"), "PermanentError"),
        (JobCancelled("x"), "JobCancelled"),
        (LeaseLost("x"), "LeaseLost"),
        (json.JSONDecodeError("x", "", 0), "json.decoder.JSONDecodeError"),
        (OddError("x"), f"{__name__}.OddError"),
    ],
)
def test_an_error_is_named_by_its_module_unless_everybody_knows_it(error: Exception, name: str) -> None:
    assert outcome.to_job_error(error).type == name


def test_a_timeout_of_the_limit_is_called_timeout_and_the_jobs_own_is_not() -> None:
    assert fail(JobTimeout("ran longer")).error.type == "timeout"  # type: ignore[union-attr]
    assert fail(TimeoutError("x")).error.type == "TimeoutError"  # type: ignore[union-attr]


def test_an_error_that_cannot_be_written_out_is_still_recorded() -> None:
    record = outcome.to_job_error(MuteError("x"))
    assert record.type.endswith("MuteError")
    assert "no words" not in record.message
    assert record.message


@given(st.text())
def test_any_message_can_be_stored(text: str) -> None:
    message = outcome.to_job_error(ValueError(text)).message
    message.encode("utf-8")
    assert "\0" not in message
    assert len(message) <= outcome.MESSAGE_LIMIT


def test_lone_surrogates_and_nul_are_replaced_and_long_messages_cut() -> None:
    assert outcome.to_job_error(ValueError("a\ud800b\0c")).message == "a?b�c"
    assert len(outcome.to_job_error(ValueError("x" * 10_000)).message) == 2000


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no row 17", "no row 18"),
        ("at 0x7f3a", "at 0xdead"),
        ("job 0192f000-0000-7000-8000-000000000001 gone", "job 0192f000-ffff-7abc-8000-0000000000ff gone"),
        ("key 'a' missing", "key 'b c' missing"),
        ('file "x" unreadable', 'file "y/z" unreadable'),
    ],
)
def test_errors_of_one_kind_have_one_fingerprint(one: str, other: str) -> None:
    assert outcome.fingerprint("E", one) == outcome.fingerprint("E", other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(("E", "no row 17"), ("F", "no row 17")), (("E", "no row 17"), ("E", "no table 17")), (("E", "x"), ("Ex", ""))],
)
def test_errors_of_different_kinds_have_different_fingerprints(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert outcome.fingerprint(*one) != outcome.fingerprint(*other)


# -- results ---------------------------------------------------------------------------------------------------


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "result",
    [
        math.nan,
        math.inf,
        {"x": -math.inf},
        "\ud800",
        {"\udfff": 1},
        {1, 2},
        object(),
        b"bytes",
        {(1, 2): 3},
        circle(),
        nested(100_000),
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_result_that_is_no_json_fails_the_job_for_good(result: Any) -> None:
    with pytest.raises(ResultError, match="not JSON"):
        outcome.encode_result(result, limit_bytes=1_000_000)


def test_the_limit_counts_bytes_of_the_text() -> None:
    assert outcome.encode_result("ä" * 9, limit_bytes=20) == '"' + "ä" * 9 + '"'
    with pytest.raises(ResultError, match="21 bytes as JSON; 20 are allowed"):
        outcome.encode_result("ä" * 9 + "x", limit_bytes=20)


def test_no_result_is_no_text_and_digits_and_nul_are_kept() -> None:
    assert outcome.encode_result(None, limit_bytes=1) is None
    assert outcome.encode_result({"n": 12345678901234567890123, "z": "\0"}, limit_bytes=100) == (
        '{"n":12345678901234567890123,"z":"\\u0000"}'
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_every_json_value_survives_as_text_or_is_refused(value: Any) -> None:
    try:
        text = outcome.encode_result(value, limit_bytes=1_000_000)
    except ResultError:
        return
    assert (json.loads(text) if text is not None else None) == value
