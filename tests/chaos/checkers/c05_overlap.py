"""C5 (I4): at each moment at most one attempt of a job is entitled to it."""

from __future__ import annotations

from collections import defaultdict

from tests.chaos.history import History

from .attempts import attempts_of
from .report import Report, Violation

CLOCK_SECONDS = 0.001
"""Log times are the primary's, in milliseconds."""


def check_overlap(history: History) -> Report:
    """Compare the spans from claim to end, and who started each attempt."""
    violations = []
    spans = 0
    for document in history.documents:
        last_end, last_number = float("-inf"), 0
        for attempt in attempts_of(document):
            spans += 1
            if attempt.claim.at < last_end - CLOCK_SECONDS:
                violations.append(
                    Violation("overlap", f"attempt {attempt.number} begins before {last_number} has ended", document.id)
                )
            last_number = attempt.number
            last_end = attempt.end.at if attempt.end is not None else float("inf")
            if attempt.end is not None and attempt.end.after == "processing":
                violations.append(
                    Violation("two-claims", f"attempt {attempt.number} was never ended, and claimed again", document.id)
                )
    starters: defaultdict[tuple[str, int], set[int | None]] = defaultdict(set)
    starts: defaultdict[tuple[str, int], int] = defaultdict(int)
    for effect in history.effects:
        if effect.phase == "start" and effect.sink == "plain":
            starters[effect.job_id, effect.attempt].add(effect.pid)
            starts[effect.job_id, effect.attempt] += 1
    for (job_id, number), count in sorted(starts.items()):
        if count > 1:
            pids = len(starters[job_id, number])
            violations.append(
                Violation("run-twice", f"attempt {number} was started {count} times by {pids} processes", job_id)
            )
    return Report("C5 overlap", ("I4",), spans, tuple(violations), {"spans": spans, "starts": sum(starts.values())})
