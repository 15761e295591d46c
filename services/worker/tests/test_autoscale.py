"""How many slots a pool wants, and what it gets beside the others."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.worker.autoscale import TURN_SECONDS, Demand, Trend, share_slots, slots_wanted
from headrace.worker.pools_file import Autoscale

RULES = Autoscale(cooldown_up_seconds=1, cooldown_down_seconds=10)


@pytest.mark.parametrize(
    ("backlog", "busy", "current", "run_seconds", "wanted"),
    [
        (0, 0, 5, 0.1, 0),
        (0, 3, 5, 0.1, 3),
        (None, 0, 0, None, 1),
        (None, 2, 5, 0.1, 5),
        (7, 1, 1, None, 8),
        (5000, 1, 1, 0.1, 251),
        (5000, 10, 10, 0.001, 13),
        (1, 10, 10, 0.001, 11),
        (1, 10, 10, 60.0, 11),
        (5000, 0, 0, None, 5000),
        (5000, 1, 10, None, 10),
    ],
)
def test_what_a_pool_wants(backlog: int | None, busy: int, current: int, run_seconds: float, wanted: int) -> None:
    assert (
        slots_wanted(backlog=backlog, busy=busy, current=current, run_seconds=run_seconds, target_seconds=2.0) == wanted
    )


def test_a_pool_grows_at_once_and_then_once_per_cool_down() -> None:
    trend = Trend()
    assert [trend.settle(now, want, RULES) for now, want in ((0, 4), (0.5, 9), (0.9, 9), (1.0, 9))] == [4, 4, 4, 9]


def test_a_pool_shrinks_to_what_it_wanted_at_most_within_the_cool_down() -> None:
    trend = Trend()
    steps = [(0, 8), (1, 2), (9, 5), (10, 1), (10.5, 0), (19, 0), (19.5, 0), (30, 0)]
    assert [trend.settle(now, want, RULES) for now, want in steps] == [8, 8, 8, 8, 5, 5, 1, 0]


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), min_size=1, max_size=40))
def test_a_settled_level_was_wanted_within_the_cool_downs(steps: list[tuple[float, int]]) -> None:
    trend, now, level = Trend(), 0.0, 0
    wants: list[tuple[float, int]] = []
    grown: list[float] = []
    for pause, want in steps:
        now += pause
        wants.append((now, want))
        before, level = level, trend.settle(now, want, RULES)
        assert level <= max(want for at, want in wants if now - at <= RULES.cooldown_down_seconds)
        if level > before:
            grown.append(now)
        if level < before:
            assert level == max(want for at, want in wants if now - at <= RULES.cooldown_down_seconds)
    assert all(later - earlier >= RULES.cooldown_up_seconds for earlier, later in pairwise(grown))


def test_slots_that_are_short_are_shared_evenly_by_who_wants_more() -> None:
    demands = [Demand("a", 100, 1, 100), Demand("b", 3, 1, 100), Demand("c", 100, 1, 100), Demand("d", 0, 1, 100)]
    assert share_slots(demands, total=20) == {"a": 8, "b": 3, "c": 8, "d": 1}


def test_minimums_come_before_wishes() -> None:
    assert share_slots([Demand("a", 100, 0, 100), Demand("b", 0, 6, 10)], total=10) == {"a": 4, "b": 6}


def test_a_pool_with_jobs_and_no_slot_comes_before_the_idle_ones() -> None:
    assert share_slots([Demand("a", 1, 0, 5), Demand("b", 0, 1, 5), Demand("c", 0, 1, 5)], total=2) == {
        "a": 1,
        "b": 1,
        "c": 0,
    }


def test_with_fewer_slots_than_pools_who_has_one_keeps_it_until_another_has_waited_for_its_turn() -> None:
    served = Demand("b", 5, 0, 5, current=1)
    assert share_slots([Demand("a", 5, 0, 5, unserved_seconds=TURN_SECONDS - 0.1), served], total=1) == {"a": 0, "b": 1}
    assert share_slots([Demand("a", 5, 0, 5, unserved_seconds=TURN_SECONDS), served], total=1) == {"a": 1, "b": 0}
    longest = [Demand("a", 1, 0, 5, unserved_seconds=6), Demand("c", 1, 0, 5, unserved_seconds=9)]
    assert share_slots(longest, total=1) == {"a": 0, "c": 1}


@st.composite
def some_demands(draw: Any) -> list[Demand]:
    found = []
    for name in draw(st.sets(st.sampled_from("abcdefgh"), min_size=1)):
        low = draw(st.integers(0, 12))
        high = draw(st.integers(low, 40))
        found.append(Demand(name, draw(st.integers(0, 60)), low, high, draw(st.integers(0, 3)), draw(st.floats(0, 20))))
    return found


@given(some_demands(), st.integers(0, 120), st.randoms(use_true_random=False))
def test_shares_keep_every_rule(demands: list[Demand], total: int, dice: Any) -> None:
    shares = share_slots(demands, total=total)
    assert sum(shares.values()) <= total
    asking = [demand for demand in demands if demand.goal > 0]
    if sum(shares.values()) < total:
        assert all(shares[demand.name] == demand.goal for demand in demands), "nothing is left while anybody wants more"
    for demand in demands:
        assert 0 <= shares[demand.name] <= demand.goal <= demand.max_slots
    if total >= len(asking):
        assert all(shares[demand.name] > 0 for demand in asking)
    if total >= sum(max(1, demand.min_slots) for demand in asking):
        assert all(shares[demand.name] >= min(demand.min_slots, demand.max_slots) for demand in demands)
    for one in demands:
        for other in demands:
            # Who has more than another by two either keeps its minimum or the other has all it wants.
            if shares[one.name] > shares[other.name] + 1 and shares[one.name] > one.min_slots:
                assert shares[other.name] == other.goal
    dice.shuffle(demands)
    assert share_slots(demands, total=total) == shares


def test_thousands_of_slots_are_shared_at_once() -> None:
    assert share_slots([Demand("a", 9000, 0, 9000), Demand("b", 9000, 2, 9000)], total=10_000) == {"a": 5000, "b": 5000}
