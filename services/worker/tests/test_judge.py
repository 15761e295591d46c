"""Refused ids are judged by their documents, never dropped unseen."""

from __future__ import annotations

import pytest

from headrace.contracts.states import TERMINAL, JobState
from headrace.runtime.queue.base import PUTBACK_MS, Claim, Verdict
from headrace.runtime.store.values import Place
from headrace.worker.claim_loop import POLL_SECONDS, pause_after
from headrace.worker.judge import UNKNOWN_TYPE_MS, judge

NOW = 1_000_000


def place(state: JobState | None, *, due: bool = True, type_: str = "known", version: int = 2) -> Place:
    return Place("j", state, score=77, run_at_ms=NOW + 9000, due=due, type=type_, contract_version=version)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("due", [True, False])
@pytest.mark.parametrize("state", [None, *JobState])
def test_what_the_document_says_decides(state: JobState | None, due: bool, known: bool) -> None:
    for unknown in ({"type_": "other"}, {"version": 3}):
        found = place(state, due=due, **({} if known else unknown))  # type: ignore[arg-type]
        check(judge(found, types=("known",), versions={"known": 2}, now_ms=NOW), state, due=due, known=known)


def check(verdict: Verdict, state: JobState | None, *, due: bool, known: bool) -> None:
    if state is None or state in TERMINAL:
        assert verdict == Verdict("j", "drop")
    elif state is JobState.PROCESSING:
        assert verdict == Verdict("j", "leave")
    elif not due:
        assert verdict == Verdict("j", "delayed", due_ms=NOW + 9000, score=77)
    elif known:
        assert verdict == Verdict("j", "delayed", due_ms=NOW + PUTBACK_MS, score=77)
    else:
        assert verdict == Verdict("j", "delayed", due_ms=NOW + UNKNOWN_TYPE_MS, score=77)


@pytest.mark.parametrize(
    ("next_due", "seconds"),
    [(None, POLL_SECONDS), (NOW + 60_000, POLL_SECONDS), (NOW + 300, 0.3), (NOW, 0.005), (NOW - 5000, 0.005)],
)
def test_an_idle_child_looks_again_when_the_next_delayed_job_is_due_and_at_least_once_a_second(
    next_due: int | None, seconds: float
) -> None:
    assert pause_after(Claim((), next_due, NOW, False)) == pytest.approx(seconds)
