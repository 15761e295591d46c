"""What becomes of ids that MongoDB refused: judged by their documents, never dropped unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.contracts.states import JobState
from headrace.runtime.queue.base import PUTBACK_MS, Verdict
from headrace.runtime.store.values import Place

UNKNOWN_TYPE_MS = 5000
"""A job of a type, or of a payload version, that this child lacks comes back this much later; another may have it."""


def is_newer(place: Place, versions: Mapping[str, int]) -> bool:
    """Whether the job's payload has a version above the newest known of its type."""
    return place.contract_version > versions.get(place.type, place.contract_version)


def judge(place: Place, *, types: Sequence[str], versions: Mapping[str, int], now_ms: int) -> Verdict:
    """Where a refused id belongs, by what its document says.

    Args:
        place: What MongoDB says.
        types: The job types this child knows.
        versions: The newest payload version it knows of each.
        now_ms: Redis' clock at the claim.
    """
    if place.state is None or place.state.is_terminal:
        return Verdict(place.job_id, "drop")
    if place.state is JobState.PROCESSING:
        return Verdict(place.job_id, "leave")
    if not place.due:
        return Verdict(place.job_id, "delayed", due_ms=place.run_at_ms, score=place.score)
    # Due and refused: another claim is being committed, or this child lacks the type or the version. Never straight to
    # the head: it would spin, and every other job would wait behind it.
    is_known = place.type in types and not is_newer(place, versions)
    wait = PUTBACK_MS if is_known else UNKNOWN_TYPE_MS
    return Verdict(place.job_id, "delayed", due_ms=now_ms + wait, score=place.score)
