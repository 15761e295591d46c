from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headrace.monitor import words


@pytest.mark.parametrize(
    ("value", "shown"), [(None, words.DASH), (0, "0"), (9999, "9,999"), (10_000, "10k+"), (12_345, "10k+")]
)
def test_capped_counts_say_that_they_are(value, shown):
    assert words.count(value) == shown


def test_exact_numbers_are_shown_whole():
    assert (words.number(None), words.number(1_234_567)) == (words.DASH, "1,234,567")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, words.DASH), (0.4, "0 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h"), (400_000, "4.6 d")],
)
def test_spans_are_shown_in_the_unit_that_fits(seconds, shown):
    assert words.age(seconds) == shown


def test_a_moment_is_shown_as_the_time_since_and_never_as_the_future():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert words.since(None, now) == words.DASH
    assert words.since(now - timedelta(minutes=5), now) == "5 min"
    assert words.since(now + timedelta(minutes=5), now) == "0 s"


def test_long_texts_are_cut_to_one_line():
    assert words.short("a\n  b\tc") == "a b c"
    assert words.short("x" * 500, 10) == "x" * 9 + "…"
