"""The comparison of one id with its document, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.contracts.states import JobState
from headrace.recovery.judge import DELAYED_SLACK_MS, SETTLE_MS, SWEEP_AFTER_MS, DriftKind, Mending, judge
from headrace.runtime.queue import Located
from headrace.runtime.store.reconcile_reads import Standing

NOW = 1_800_000_000_000
SCORE = 42
Q, P, C = JobState.QUEUED, JobState.PROCESSING, JobState.COMPLETED
MISSING_E = (DriftKind.MISSING, Mending.ENQUEUE)
MISSING_A = (DriftKind.MISSING, Mending.ADOPT)
GHOST_F = (DriftKind.GHOST, Mending.FORGET)
GHOST_S = (DriftKind.GHOST, Mending.SUSPECT)
STUCK = (DriftKind.STUCK_INFLIGHT, Mending.SWEEP)
ORDER_S = (DriftKind.WRONG_ORDER, Mending.RESCORE)
ORDER_R = (DriftKind.WRONG_ORDER, Mending.RELOCATE)


def standing(state: JobState | None, **fields: Any) -> Standing:
    values = {"run_at_ms": NOW - 60_000, "due": True, "changed_ms_ago": 60_000, "score": SCORE, "pool": "p"}
    return Standing("j", state=state, **values | fields)


def later(ms: int) -> dict[str, Any]:
    return {"run_at_ms": NOW + ms, "due": False}


@pytest.mark.parametrize(
    ("state", "fields", "place", "number", "expected"),
    [
        # queued
        (Q, {}, "ready", SCORE, None),
        (Q, {}, None, None, MISSING_E),
        (Q, {}, "reserved", NOW, MISSING_E),
        (Q, {}, "ready", SCORE + 1, ORDER_S),
        (Q, {}, "inflight", NOW - SWEEP_AFTER_MS + 1, None),
        (Q, {}, "inflight", NOW - SWEEP_AFTER_MS, STUCK),
        (Q, {}, "inflight", NOW + SWEEP_AFTER_MS - 1, None),
        (Q, {}, "inflight", NOW + SWEEP_AFTER_MS, STUCK),
        (Q, {}, "delayed", NOW + DELAYED_SLACK_MS, None),
        (Q, {}, "delayed", NOW + DELAYED_SLACK_MS + 1, ORDER_R),
        (Q, {}, "delayed", NOW - 60_000, None),
        (Q, later(60_000), "delayed", NOW + 60_000, None),
        (Q, later(60_000), "delayed", NOW + 60_250, None),
        (Q, later(60_000), "delayed", NOW + 60_000 - DELAYED_SLACK_MS - 1, ORDER_R),
        (Q, later(60_000), "delayed", NOW + 60_000 + DELAYED_SLACK_MS + 1, ORDER_R),
        (Q, later(60_000), "ready", SCORE, ORDER_R),
        (Q, later(50), "ready", SCORE, None),
        (Q, later(60_000), None, None, MISSING_E),
        # processing
        (P, {}, "inflight", NOW - 3_600_000, None),
        (P, {}, None, None, MISSING_A),
        (P, {}, "reserved", NOW, MISSING_A),
        (P, {}, "ready", SCORE, None),
        (P, {}, "delayed", NOW, None),
        # over, or never there
        (C, {}, None, None, None),
        (C, {}, "ready", SCORE, GHOST_F),
        (C, {}, "inflight", NOW, GHOST_F),
        (C, {}, "reserved", NOW, GHOST_F),
        (None, {"pool": None}, None, None, None),
        (None, {"pool": None}, "reserved", NOW, None),
        (None, {"pool": None}, "ready", SCORE, GHOST_S),
        (Q, {"pool": "other"}, "ready", SCORE, GHOST_F),
        (Q, {"pool": "other"}, None, None, None),
    ],
)
def test_every_combination_of_document_and_place(
    state: JobState | None, fields: dict[str, Any], place: Any, number: int | None, expected: object
) -> None:
    drift = judge("p", standing(state, **fields), Located("j", place, number, None), now_ms=NOW)
    assert (drift and (drift.kind, drift.mending)) == expected


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("place", [None, "ready", "delayed", "inflight", "reserved"])
def test_whoever_changed_a_document_is_given_time_to_push_it(state: JobState, place: Any) -> None:
    fresh = standing(state, changed_ms_ago=SETTLE_MS - 1)
    assert judge("p", fresh, Located("j", place, 0, None), now_ms=NOW) is None
