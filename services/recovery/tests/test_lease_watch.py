"""B7: nobody is judged on the word of a clock, only on what was seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from headrace.recovery.lease_watch import LeaseWatch

THEN = datetime(2026, 1, 1, tzinfo=UTC)
LATER = THEN + timedelta(seconds=30)


def watch() -> LeaseWatch:
    return LeaseWatch(lease_seconds=90, gap_seconds=30)


def looks(found: LeaseWatch, *, first: float, last: float, lease: datetime = THEN) -> dict[str, datetime]:
    lapsed: dict[str, datetime] = {}
    at = first
    while at <= last:
        lapsed = found.look({"w": lease}, asked=at, answered=at + 0.5)
        at += 1
    return lapsed


def test_b7_a_lease_that_ended_long_ago_is_not_judged_at_first_sight() -> None:
    assert watch().look({"w": datetime(2000, 1, 1, tzinfo=UTC)}, asked=0, answered=0.1) == {}


def test_b7_a_lease_seen_unchanged_for_a_whole_lease_has_lapsed() -> None:
    found = watch()
    assert looks(found, first=0, last=90) == {}, "the first answer came half a second later"
    assert looks(found, first=91, last=91) == {"w": THEN}


def test_b7_a_slow_answer_counts_from_when_it_had_come() -> None:
    found = watch()
    found.look({"w": THEN}, asked=0, answered=20)
    for second in range(21, 110):
        assert found.look({"w": THEN}, asked=second, answered=second) == {}
    assert found.look({"w": THEN}, asked=110, answered=110) == {"w": THEN}


def test_b7_a_renewal_begins_the_watch_of_that_lease_anew() -> None:
    found = watch()
    looks(found, first=0, last=80)
    assert looks(found, first=81, last=170, lease=LATER) == {}
    assert looks(found, first=171, last=172, lease=LATER) == {"w": LATER}


def test_b7_a_failed_call_begins_the_watch_anew() -> None:
    found = watch()
    looks(found, first=0, last=80)
    found.reset()
    assert looks(found, first=81, last=171) == {}
    assert looks(found, first=172, last=173) == {"w": THEN}


def test_b7_a_gap_between_two_looks_begins_the_watch_anew() -> None:
    found = watch()
    looks(found, first=0, last=80)
    assert found.look({"w": THEN}, asked=200, answered=200.1) == {}


def test_an_incarnation_that_is_gone_is_forgotten() -> None:
    found = watch()
    looks(found, first=0, last=80)
    found.look({}, asked=81, answered=81)
    assert looks(found, first=82, last=100) == {}


def test_a_lapsed_lease_is_listed_until_it_is_gone() -> None:
    found = watch()
    assert looks(found, first=0, last=95) == {"w": THEN}
    assert looks(found, first=96, last=96) == {"w": THEN}
