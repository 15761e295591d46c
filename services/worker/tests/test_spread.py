"""Slots among children, and starts after deaths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.worker.restarts import MAX_BACKOFF_SECONDS, MAX_READY_BACKOFF_SECONDS, YOUNG_SECONDS, Restarts
from headrace.worker.spread import Seat, spread_slots

NEW, WORN, BOOTING = Seat(10), Seat(10, is_worn=True), Seat(10, is_ready=False)


@pytest.mark.parametrize(
    ("total", "seats", "shares"),
    [
        (0, [NEW], [0]),
        (4, [], []),
        (4, [NEW], [4]),
        (14, [NEW], [10]),
        (15, [NEW, NEW], [8, 7]),
        (10, [NEW, NEW], [10, 0]),
        (4, [BOOTING], [4]),
        (15, [NEW, BOOTING], [10, 5]),
        (10, [WORN, BOOTING], [10, 0]),
        (10, [WORN, NEW], [0, 10]),
        (12, [WORN, NEW, BOOTING], [2, 10, 0]),
        (3, [Seat(0, is_worn=True), BOOTING], [0, 3]),
    ],
)
def test_a_spread(total: int, seats: list[Seat], shares: list[int]) -> None:
    assert spread_slots(total, seats) == shares


@given(st.integers(0, 200), st.lists(st.builds(Seat, st.integers(0, 12), st.booleans(), st.booleans()), max_size=12))
def test_every_slot_that_fits_is_given_once(total: int, seats: list[Seat]) -> None:
    shares = spread_slots(total, seats)
    assert all(0 <= share <= seat.capacity for share, seat in zip(shares, seats, strict=True))
    room = sum(seat.capacity for seat in seats if seat.is_ready or not seat.is_worn)
    assert sum(shares) == min(total, room)


@pytest.mark.parametrize(("was_ready", "most"), [(False, MAX_BACKOFF_SECONDS), (True, MAX_READY_BACKOFF_SECONDS)])
def test_the_pause_before_a_replacement_grows_while_children_die_young_and_starts_again_after_a_calm(
    was_ready: bool, most: float
) -> None:
    """Where they were ready something kills them that may hit others less, and the pool goes on sooner."""
    restarts = Restarts()
    now = 100.0
    assert restarts.may_start(now, 4) == 4
    pauses = []
    for _ in range(12):
        restarts.note_death(now, age_seconds=1, was_ready=was_ready)
        pauses.append(round(restarts.after - now, 3))
        assert restarts.may_start(now, 4) == 0
        now = restarts.after
    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert pauses[-1] == most
    assert restarts.may_start(now, 4) == 1, "one at a time shows what kills them"
    assert restarts.may_start(now + YOUNG_SECONDS, 4) == 4
    now += YOUNG_SECONDS + 1
    restarts.note_death(now, age_seconds=1, was_ready=was_ready)
    assert restarts.after == now + 0.2


def test_a_child_that_lived_long_is_replaced_soon_after_others_had_died_young() -> None:
    restarts = Restarts()
    for now in (1.0, 2.0, 3.0):
        restarts.note_death(now, age_seconds=1, was_ready=True)
    restarts.note_death(4.0, age_seconds=YOUNG_SECONDS + 1, was_ready=True)
    assert restarts.after == 4.2
    assert restarts.may_start(4.3, 3) == 3


def test_what_a_small_child_cannot_hold_goes_to_a_larger_one() -> None:
    assert spread_slots(4, [Seat(3, is_ready=False), Seat(1, is_ready=False)]) == [3, 1]
    assert spread_slots(7, [Seat(5), Seat(1), Seat(3)]) == [3, 1, 3]
