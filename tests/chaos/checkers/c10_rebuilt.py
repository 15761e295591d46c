"""C10b (I6, I8): when a rebuild is declared finished, every job that waits is in the index.

Judged at the moment of the declaration, because reconcile would hide a gap within seconds. What a dead worker popped
and never claimed in MongoDB is in the index, in flight; how long it stays there is C11's.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.history import Document, History, QueueEvent

from .report import Report, Violation

LIE_SECONDS = 6.0
"""How long a lie may have been told when it is noted: entry by entry, on a machine that is busy."""
MARGIN_SECONDS = 1.0
"""A job that came, went or was due so shortly before or after may be on its way."""


def check_rebuilt(history: History) -> Report:
    """Replay each pool's index up to each declaration."""
    rebuilds = [event for event in history.queue_events if event.kind == "complete"]
    violations = [violation for rebuild in rebuilds for violation in _judge(history, rebuild)]
    return Report("C10 rebuilt", ("I6", "I8"), len(rebuilds), tuple(violations), {"rebuilds": len(rebuilds)})


def _judge(history: History, rebuild: QueueEvent) -> Iterator[Violation]:
    if _began_as_a_copy(history, rebuild):
        return  # the ids that came with the copy were never added, so nobody saw them come
    if _was_lied_to(history, rebuild):
        return  # the suite itself took ids away while it was rebuilt
    ready: set[str] = set()
    in_flight: set[str] = set()
    touched_at: dict[str, float] = {}
    for event in sorted(history.queue_events, key=lambda event: event.order):
        if event.pool != rebuild.pool:
            continue
        if event.order >= rebuild.order:
            break
        if event.kind == "lost":
            ready, in_flight = set(), set()
        elif event.kind == "ready":
            ready.add(event.job_id)
            in_flight.discard(event.job_id)
        else:
            ready.discard(event.job_id)
        if event.kind == "claimed":
            in_flight.add(event.job_id)
            touched_at[event.job_id] = event.at
    seen_at = _seen_at(history)
    missing = sorted(
        document.id
        for document in history.documents
        if document.pool == rebuild.pool
        and document.id not in ready | in_flight
        and _waits_around(document, rebuild.at)
        and touched_at.get(document.id, float("-inf")) < rebuild.at - MARGIN_SECONDS
        and seen_at.get(document.id, float("-inf")) < rebuild.at - MARGIN_SECONDS
    )
    for job_id in missing:
        says = f"pool {rebuild.pool} was declared complete at {rebuild.at:.2f} s without it ({len(missing)} in all)"
        yield Violation("complete-missing", says, job_id)


def _seen_at(history: History) -> dict[str, float]:
    """When each job was first seen. Its log tells when it was sent; an insert may be under way for seconds after."""
    seen: dict[str, float] = {}
    shown = [(o.job_id, o.completed) for o in history.operations if o.outcome == "ok" and o.job_id is not None]
    for job_id, at in (*shown, *((document.id, document.read_at) for document in history.observed)):
        if at is not None:
            seen[job_id] = min(at, seen.get(job_id, at))
    return seen


def _last_loss(history: History, rebuild: QueueEvent) -> float:
    losses = (e.at for e in history.queue_events if e.kind == "lost" and e.order < rebuild.order)
    return max(losses, default=float("-inf"))


def _was_lied_to(history: History, rebuild: QueueEvent) -> bool:
    last = _last_loss(history, rebuild)
    began = {fault.id: fault.at for fault in history.planned}
    return any(
        fault.kind == "lie"
        and fault.over > last
        and min(fault.at - LIE_SECONDS, began.get(fault.id, fault.at)) < rebuild.at
        for fault in history.fired
    )


def _began_as_a_copy(history: History, rebuild: QueueEvent) -> bool:
    last = _last_loss(history, rebuild)
    return any(
        fault.kind == "old-copy" and fault.at - MARGIN_SECONDS < last < fault.over + MARGIN_SECONDS
        for fault in history.fired
    )


def _waits_around(document: Document, at: float) -> bool:
    """Whether it was queued and due from well before until well after."""
    before = [entry for entry in document.log if entry.at <= at - MARGIN_SECONDS]
    until = next((entry.at for entry in document.log if entry.at > at - MARGIN_SECONDS), float("inf"))
    is_queued = bool(before) and before[-1].after == "queued" and until > at + MARGIN_SECONDS / 2
    never_retried = len(before) == 1  # when a retried job is due its last document does not tell
    # One that came with a delay stands among the delayed until the next claim, however long it is due.
    never_delayed = document.run_at <= document.created_at + MARGIN_SECONDS / 10
    return is_queued and never_retried and never_delayed
