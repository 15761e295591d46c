"""Back-off: bounded, growing, jittered by the caller."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.contracts.retry import RetryPolicy

policies = st.builds(
    RetryPolicy,
    base_seconds=st.floats(0.001, 1e6),
    factor=st.floats(1, 1e4),
    cap_seconds=st.floats(0.001, 1e6),
)
failures = st.integers(-5, 10**9)
jitters = st.floats(0, 1)


@given(policies, failures, jitters)
def test_a_wait_is_never_negative_and_never_above_its_ceiling_or_the_cap(
    policy: RetryPolicy, count: int, jitter: float
) -> None:
    assert 0 <= policy.delay_seconds(count, jitter) <= policy.ceiling_seconds(count) <= policy.cap_seconds


@given(policies, failures)
def test_the_ceiling_never_falls_with_another_failure(policy: RetryPolicy, count: int) -> None:
    assert policy.ceiling_seconds(count) <= policy.ceiling_seconds(count + 1)


@given(policies, failures)
def test_full_jitter_reaches_from_nothing_to_the_ceiling(policy: RetryPolicy, count: int) -> None:
    assert policy.delay_seconds(count, 0) == 0
    assert policy.delay_seconds(count, 1) == policy.ceiling_seconds(count)


def test_the_default_doubles_from_one_second_to_five_minutes() -> None:
    ceilings = [RetryPolicy().ceiling_seconds(count) for count in (1, 2, 3, 4, 9, 10, 11)]
    assert ceilings == [1, 2, 4, 8, 256, 300, 300]


@pytest.mark.parametrize("wrong", [{"base_seconds": 0}, {"factor": 0.5}, {"cap_seconds": 0}, {"tries": 3}])
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        RetryPolicy.model_validate(wrong)
