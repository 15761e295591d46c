"""Whether Redis agrees with a job's document, and what mends it when not: a pure decision about one id."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headrace.contracts.states import JobState
from headrace.runtime.queue import Located
from headrace.runtime.store.reconcile_reads import Standing
from headrace.runtime.store.state_claim import CLAIM_SECONDS

SWEEP_AFTER_MS = int(CLAIM_SECONDS * 1000) + 5000
"""Ids in flight are left alone until well after the deadline of the claim that took them: it may only be slow."""
SETTLE_MS = 2000
"""Whoever changed a document pushes its id next; until then a difference is no drift."""
DELAYED_SLACK_MS = 6000
"""A refused id that is due waits up to five seconds among the delayed ones (unknown types); more is drift."""


class DriftKind(StrEnum):
    """What is wrong, as the metric names it."""

    MISSING = "missing"
    GHOST = "ghost"
    STUCK_INFLIGHT = "stuck_inflight"
    WRONG_ORDER = "wrong_order"


class Mending(StrEnum):
    """What mends it, in the order in which it is done: what frees room comes before what needs it."""

    FORGET = "forget"
    """The job is over: out of every set."""
    SUSPECT = "suspect"
    """There is no document: to be seen a second time before it is removed."""
    SWEEP = "sweep"
    RESCORE = "rescore"
    RELOCATE = "relocate"
    ADOPT = "adopt"
    ENQUEUE = "enqueue"


@dataclass(frozen=True)
class Drift:
    """One difference between Redis and the truth, with both as they were read."""

    kind: DriftKind
    mending: Mending
    standing: Standing
    located: Located


def judge(pool: str, standing: Standing, located: Located, *, now_ms: int) -> Drift | None:
    """Compare one id.

    A processing job that Redis shows ready or delayed is left alone: it counts once, whoever pops it is refused by the
    document and puts it in flight, and moving it on the word of an older read could hide a job that waits again.

    Args:
        pool: The pool whose sets were looked at.
        standing: The document, read before or after `located`.
        located: Where the id is.
        now_ms: Redis' clock.
    """
    absent = located.place in (None, "reserved")
    if standing.state is None or standing.pool != pool:
        # A place without a document is the business of its expiry.
        return None if absent else Drift(DriftKind.GHOST, _ghost_mending(standing), standing, located)
    if standing.changed_ms_ago < SETTLE_MS:
        return None
    found: tuple[DriftKind, Mending] | None = None
    match standing.state:
        case JobState.QUEUED if absent:
            found = (DriftKind.MISSING, Mending.ENQUEUE)
        case JobState.QUEUED:
            found = _judge_waiting(standing, located, now_ms)
        case JobState.PROCESSING if absent:
            found = (DriftKind.MISSING, Mending.ADOPT)
        case JobState.PROCESSING:
            return None
        case _:
            found = (DriftKind.GHOST, Mending.FORGET) if located.place is not None else None
    return Drift(*found, standing, located) if found else None


def _ghost_mending(standing: Standing) -> Mending:
    # The document of another pool is there for good: a job never changes its pool.
    return Mending.SUSPECT if standing.state is None else Mending.FORGET


def _judge_waiting(standing: Standing, located: Located, now_ms: int) -> tuple[DriftKind, Mending] | None:
    number = located.score or 0
    if located.place == "inflight":
        # A claim of the future, by a clock that was set back or a number that is none, would never grow old.
        return (DriftKind.STUCK_INFLIGHT, Mending.SWEEP) if abs(now_ms - number) >= SWEEP_AFTER_MS else None
    if located.place == "ready":
        if not standing.due and standing.run_at_ms > now_ms + DELAYED_SLACK_MS:
            return DriftKind.WRONG_ORDER, Mending.RELOCATE
        return (DriftKind.WRONG_ORDER, Mending.RESCORE) if number != standing.score else None
    late = number > max(standing.run_at_ms, now_ms) + DELAYED_SLACK_MS
    early = number < standing.run_at_ms - DELAYED_SLACK_MS
    return (DriftKind.WRONG_ORDER, Mending.RELOCATE) if late or early else None
