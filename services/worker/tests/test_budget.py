"""How many jobs a child claims: never more than its threads and its horizon allow."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.worker.budget import (
    KNOWN_RUNS,
    MAX_AHEAD_PER_SLOT,
    MAX_UNSETTLED,
    WINDOW,
    RunTimes,
    claim_budget,
    ends_soon,
    stale_after_seconds,
)

counts = st.integers(0, 2000)
seconds = st.floats(0, 1e6, allow_nan=False)


@given(
    slots=st.integers(1, 1000),
    running=counts,
    waiting=counts,
    unsettled=st.integers(0, 2 * MAX_UNSETTLED),
    horizon=seconds,
    p95=st.none() | seconds,
)
def test_what_is_held_never_exceeds_the_slots_and_what_they_run_within_the_horizon(
    slots: int, running: int, waiting: int, unsettled: int, horizon: float, p95: float | None
) -> None:
    budget = claim_budget(
        slots=slots, running=running, waiting=waiting, unsettled=unsettled, horizon_seconds=horizon, p95_seconds=p95
    )
    assert budget >= 0
    if budget == 0:
        return
    assert unsettled < MAX_UNSETTLED
    ahead = running + waiting + budget - slots
    if ahead > 0:
        assert horizon > 0
        assert p95 is not None
        assert ahead <= MAX_AHEAD_PER_SLOT * slots
        assert math.ceil(ahead / slots) * p95 <= horizon * (1 + 1e-9)


@given(slots=st.integers(1, 1000), running=counts, waiting=counts, p95=st.none() | seconds)
def test_with_a_horizon_of_zero_exactly_the_free_slots_are_claimed(
    slots: int, running: int, waiting: int, p95: float | None
) -> None:
    budget = claim_budget(
        slots=slots, running=running, waiting=waiting, unsettled=0, horizon_seconds=0, p95_seconds=p95
    )
    assert budget == max(0, slots - running - waiting)


@pytest.mark.parametrize(
    ("p95", "ahead"), [(None, 0), (0.0, 640), (5e-324, 640), (0.001, 200), (0.02, 10), (0.021, 0), (3600.0, 0)]
)
def test_a_child_with_ten_slots_and_20_ms_claims_ahead_by_its_measured_run_time(p95: float | None, ahead: int) -> None:
    full = claim_budget(slots=10, running=10, waiting=0, unsettled=0, horizon_seconds=0.02, p95_seconds=p95)
    assert full == ahead


@pytest.mark.parametrize(("unsettled", "budget"), [(MAX_UNSETTLED - 1, 4), (MAX_UNSETTLED, 0), (MAX_UNSETTLED + 9, 0)])
def test_a_child_whose_settlements_are_not_confirmed_stops_claiming(unsettled: int, budget: int) -> None:
    assert (
        claim_budget(slots=4, running=0, waiting=0, unsettled=unsettled, horizon_seconds=0, p95_seconds=None) == budget
    )


def test_nothing_is_known_about_run_times_before_fifty_runs() -> None:
    times = RunTimes()
    for _ in range(KNOWN_RUNS - 1):
        times.add(1.0)
        assert times.p95() is None
    times.add(1.0)
    assert times.p95() == 1.0


def test_the_95th_percentile_leaves_out_the_slowest_five_of_a_hundred() -> None:
    times = RunTimes()
    for number in range(96):
        times.add(100.0 if number % 32 == 0 else 1.0)
    assert times.p95() == 1.0


def test_the_percentile_follows_the_last_runs_and_forgets_old_ones() -> None:
    times = RunTimes()
    for value in (0.001, 5.0):
        for _ in range(WINDOW):
            times.add(value)
        assert times.p95() == value


@given(st.lists(st.floats(0, 1e3, allow_nan=False), min_size=KNOWN_RUNS, max_size=WINDOW + 100))
def test_the_percentile_is_one_of_the_measured_times(runs: list[float]) -> None:
    times = RunTimes()
    for run in runs:
        times.add(run)
    assert times.p95() in runs


@pytest.mark.parametrize(("horizon", "stale"), [(0.0, 0.2), (0.02, 0.2), (0.04, 0.2), (0.1, 0.5), (1.0, 5.0)])
def test_a_claimed_job_that_has_not_started_goes_back_after_five_horizons_and_at_least_200_ms(
    horizon: float, stale: float
) -> None:
    assert stale_after_seconds(horizon) == pytest.approx(stale)


@pytest.mark.parametrize(
    ("started", "soon", "again"),
    [
        ([], 0, math.inf),
        ([100.0], 0, 0.08),
        ([99.93, 100.0], 0, 0.01),
        ([99.915, 99.905, 100.0], 2, 0.08),
        ([99.0, 99.89], 0, math.inf),  # both have run longer than most: nobody knows when they end
    ],
)
def test_slots_that_are_about_to_be_free_are_counted_within_the_horizon_and_not_before(
    started: list[float], soon: int, again: float
) -> None:
    found = ends_soon(started, now=100.0, horizon_seconds=0.02, p95_seconds=0.1)
    assert (found[0], round(found[1], 6)) == (soon, again)
    assert ends_soon(started, now=100.0, horizon_seconds=0.0, p95_seconds=0.1) == (0, math.inf)
    assert ends_soon(started, now=100.0, horizon_seconds=0.02, p95_seconds=None) == (0, math.inf)


def test_a_slot_that_is_about_to_be_free_is_claimed_for_once() -> None:
    budget = {"slots": 4, "running": 4, "unsettled": 0, "horizon_seconds": 0.02, "p95_seconds": 0.1}
    assert claim_budget(waiting=0, ending=3, **budget) == 3
    assert claim_budget(waiting=2, ending=3, **budget) == 1
    assert claim_budget(waiting=0, **budget) == 0


def test_nothing_is_claimed_ahead_for_slots_whose_jobs_run_for_longer_than_the_horizon() -> None:
    budget = {"slots": 10, "running": 10, "waiting": 0, "unsettled": 0, "horizon_seconds": 0.02, "p95_seconds": 0.001}
    assert claim_budget(blocked=9, **budget) == 20
    assert claim_budget(blocked=10, **budget) == 0
    assert claim_budget(blocked=12, **budget) == 0, "jobs that run on in slots that were taken away"
