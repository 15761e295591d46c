"""Patterns of submitters: whole URLs, linear time, and clear refusals."""

from __future__ import annotations

import time

import pytest

from headrace.worker.crawler.patterns import any_of, size_of

URL = "http://e.org/docs/2024/a.html?x=1"


@pytest.mark.parametrize(
    ("patterns", "matches"),
    [
        ([r".*"], True),
        ([r"http://e\.org/docs/\d{4}/[a-z]\.html\?.*"], True),
        ([r"docs"], False),
        ([r"http://e\.org/docs/"], False),
        ([r"nothing", r".*\?x=1"], True),
        ([r"(?i)HTTP://E\.ORG/.*"], True),
        ([r"http://e\.org/(?:docs|wiki)/.*|other"], True),
        ([r"other|http"], False),
        ([r"(?x) http://e\.org/docs/2024/a\.html .x=1"], True),
    ],
)
def test_one_of_the_patterns_must_match_the_whole_url(patterns, matches):
    assert any_of(tuple(patterns))(URL) is matches


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        ([r"ok", r"("], "pattern 1"),
        ([r"a)", r"(b"], "pattern 0"),
        ([r"(?!x).*"], "look-around"),
        ([r"(a)\1"], "backreferences"),
        ([r"(?:\w{1,50}){20}"], "size limit"),
        ([r"(?:.{0,100}){25}"], "2000 characters"),
        ([r"(?:(?:a{100}){100}){100}"], "2000 characters"),
        ([r"a{99999999999}"], "pattern 0"),
        ([r".{0,100}"] * 20 + ["x"], "2000 characters"),
    ],
)
def test_what_cannot_run_in_bounded_time_is_refused_with_the_reason(patterns, says):
    with pytest.raises(ValueError, match=says):
        any_of(tuple(patterns))


@pytest.mark.parametrize("pattern", [r"(a+)+!", r"(a|aa)+!", r".*.*.*.*.*.*.*=x", r"(?:a?){30}a{30}!", r"(.*a){12}!"])
def test_patterns_that_make_others_backtrack_for_ever_answer_at_once(pattern):
    matches = any_of((pattern,))
    began = time.process_time()

    assert not matches("http://e.org/" + "a" * 2000)

    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("", 0),
        ("abc", 3),
        (r"a(?:bc){3}", 13),  # the "?:" is counted too
        (r"[a-z0-9]{8}", 8),
        (r"[]a]{2}x", 3),
        (r"\{{3}", 3),
        (r"a{2,5}", 5),
        (r"a{,5}", 5),
        (r"(a{10}){10}", 100),
        (")x", 2),
    ],
)
def test_the_size_counts_repetitions_as_written_out(pattern, size):
    assert size_of(pattern) == size
