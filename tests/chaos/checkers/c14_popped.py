"""C14 (I4, I11): what a claim takes out of the index is claimed in MongoDB, put back, or its worker is gone.

A claim whose answer was lost and that took other ids when it was repeated leaves the first ones with nobody: they wait
until they are swept, although their worker is alive and well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.history import History, QueueEvent

from .attempts import TERMINAL_STATES, is_disturbed
from .report import Report, Violation

PATIENCE_SECONDS = 6.0
"""The deadline of a claim in MongoDB, and one second; its store may also be away (a fault that is on)."""
UNJUDGED_SECONDS = 14.0
"""Where MongoDB could not say what became of a refused id, it is left in flight: swept after ten seconds, by a pass
that comes every two and takes one."""


def check_popped(history: History) -> Report:
    """Follow every claimed id to what came next."""
    claimed = [event for event in history.queue_events if event.kind == "claimed" and event.call]
    violations = list(_forgotten(history, claimed))
    return Report(
        "C14 popped",
        ("I4", "I11"),
        len(claimed),
        tuple(violations),
        {"ids": len(claimed), "forgotten": len(violations)},
    )


def _forgotten(history: History, claimed: list[QueueEvent]) -> Iterator[Violation]:
    steps: defaultdict[str, list[float]] = defaultdict(list)
    for document in history.documents:
        steps[document.id] += [entry.at for entry in document.log]
    known = set(steps)  # a forged id is dropped, and no event tells of that
    over = {document.id: document.log[-1].at for document in history.documents if document.state in TERMINAL_STATES}
    for event in history.queue_events:
        if event.kind in {"ready", "left"}:
            steps[event.job_id].append(event.at)
    losses = [event.at for event in history.queue_events if event.kind == "lost"]
    gone = {owner for fault in history.fired for owner in fault.owners}
    for event in claimed:
        owner = event.call.rpartition(".")[0]
        if event.job_id not in known or owner in gone or any(at >= event.at for at in losses):
            continue
        if over.get(event.job_id, float("inf")) <= event.at:  # it is dropped, and no event tells of that
            continue
        following = min((at for at in steps[event.job_id] if at > event.at - 0.05), default=None)
        until = history.run.quiet_at if following is None else following
        calm = max((f.over for f in history.fired if f.at <= until), default=event.at)
        waited = until - max(event.at, calm)
        is_left = is_disturbed(history, event.at, event.at + PATIENCE_SECONDS, slack=0, of="mongod")
        if waited > PATIENCE_SECONDS and not (is_left and until - event.at <= UNJUDGED_SECONDS):
            says = f"taken at {event.at:.2f} s by {owner}, which did nothing with it for {waited:.1f} s"
            yield Violation("forgotten", says, event.job_id)
