"""What becomes of ids that MongoDB refused: judged by their documents, never dropped unseen."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.contracts.states import JobState
from headrace.runtime.queue.base import PUTBACK_MS, Verdict
from headrace.runtime.store.values import Place

UNKNOWN_TYPE_MS = 5000
"""A job of a type that this child lacks comes back this much later; another worker may have it."""


def judge(place: Place, *, types: Sequence[str], now_ms: int) -> Verdict:
    """Where a refused id belongs, by what its document says.

    Args:
        place: What MongoDB says.
        types: The job types this child knows.
        now_ms: Redis' clock at the claim.
    """
    if place.state is None or place.state.is_terminal:
        return Verdict(place.job_id, "drop")
    if place.state is JobState.PROCESSING:
        return Verdict(place.job_id, "leave")
    if not place.due:
        return Verdict(place.job_id, "delayed", due_ms=place.run_at_ms, score=place.score)
    # Due and refused: another claim is being committed, or this child lacks the type. Never straight to the head: it
    # would spin, and every other job would wait behind it.
    wait = PUTBACK_MS if place.type in types else UNKNOWN_TYPE_MS
    return Verdict(place.job_id, "delayed", due_ms=now_ms + wait, score=place.score)
