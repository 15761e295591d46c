"""The transition table, and the page that shows it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from headrace.contracts.states import TERMINAL, TRANSITIONS, JobState, Reason, is_legal

PAGE = Path(__file__).parents[3] / "docs" / "state-machine.md"
LEGAL = {
    (None, JobState.QUEUED),
    (JobState.QUEUED, JobState.PROCESSING),
    (JobState.QUEUED, JobState.CANCELLED),
    (JobState.QUEUED, JobState.FAILED),
    (JobState.PROCESSING, JobState.QUEUED),
    (JobState.PROCESSING, JobState.COMPLETED),
    (JobState.PROCESSING, JobState.FAILED),
    (JobState.PROCESSING, JobState.CANCELLED),
}
EVERY_PAIR = list(itertools.product([None, *JobState], JobState))


@pytest.mark.parametrize(("before", "after"), EVERY_PAIR)
def test_a_step_is_legal_exactly_when_the_design_has_it(before: JobState | None, after: JobState) -> None:
    assert is_legal(before, after) is ((before, after) in LEGAL)


@pytest.mark.parametrize("state", JobState)
def test_nothing_follows_a_terminal_state_and_something_follows_every_other(state: JobState) -> None:
    followers = [after for after in JobState if is_legal(state, after)]
    assert state.is_terminal is (state in TERMINAL) is (not followers)


def test_every_step_has_a_reason_and_every_reason_a_step() -> None:
    assert all(TRANSITIONS.values())
    assert set().union(*TRANSITIONS.values()) == set(Reason)


def test_only_expiry_fails_a_job_that_waits() -> None:
    assert TRANSITIONS[JobState.QUEUED, JobState.FAILED] == {Reason.EXPIRED}


def test_a_timeout_may_retry_or_fail_and_a_crash_loop_only_fail() -> None:
    by_reason = {
        reason: {after for (_, after), reasons in TRANSITIONS.items() if reason in reasons} for reason in Reason
    }
    assert by_reason[Reason.TIMEOUT] == {JobState.QUEUED, JobState.FAILED}
    assert by_reason[Reason.CRASH_LOOP] == {JobState.FAILED}
    assert by_reason[Reason.HOST_LOST] == by_reason[Reason.ORPHANED] == {JobState.QUEUED}


def test_the_page_lists_every_state_with_whether_it_is_terminal() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (yes|no) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert rows == {state.value: "yes" if state.is_terminal else "no" for state in JobState}


def test_the_table_of_the_page_is_the_table_of_the_code() -> None:
    found = {}
    for before, after, reasons in re.findall(
        r"^\| (—|`\w+`) \| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    ):
        key = (None if before == "—" else before.strip("`"), after)
        assert key not in found, f"{key} is there twice"
        found[key] = set(re.findall(r"`(\w+)`", reasons))
    assert found == {
        (before and before.value, after.value): {reason.value for reason in reasons}
        for (before, after), reasons in TRANSITIONS.items()
    }


def test_the_picture_of_the_page_shows_the_steps_of_the_code_and_no_others() -> None:
    (picture,) = re.findall(r"^```mermaid\nstateDiagram-v2\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    drawn = re.findall(r"^ +(\S+) --> (\S+?)(?:: (.+))?$", picture, re.MULTILINE)
    ends = {(before, after) for before, after, _ in drawn if after == "[*]"}
    assert ends == {(state.value, "[*]") for state in TERMINAL}
    steps = {(before, after): set(label.split(", ")) for before, after, label in drawn if after != "[*]"}
    assert steps == {
        (before.value if before else "[*]", after.value): {reason.value for reason in reasons}
        for (before, after), reasons in TRANSITIONS.items()
    }


def test_the_page_explains_every_reason() -> None:
    explained = re.findall(r"^- `(\w+)`: \S", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert explained == [reason.value for reason in Reason]
