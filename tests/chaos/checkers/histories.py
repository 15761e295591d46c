"""Hand-written histories for the tests of the checkers: short to write, complete to judge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.chaos.history import (
    Document,
    Effect,
    FiredFault,
    History,
    LogEntry,
    Operation,
    PlannedFault,
    QueueEvent,
    Run,
)

from .report import Checker, Report

AFTER = {
    "submitted": "queued",
    "claimed": "processing",
    "retry": "queued",
    "released": "queued",
    "orphaned": "queued",
    "host_lost": "queued",
    "timeout": "queued",
    "completed": "completed",
    "failed": "failed",
    "crash_loop": "failed",
    "cancelled": "cancelled",
    "expired": "failed",
}
OWNERS_OWN = {"completed", "failed", "retry", "released", "claimed"}
SETTINGS = {
    "lease": 4.0,
    "sweep": 1.0,
    "probe": 1.0,
    "leader_ttl": 4.0,
    "rebuild_rate": 1000.0,
    "election": 4.0,
    "cancel": 3.0,
    "horizon": 0.0,
    "slots": 2.0,
    "max_crashes": 3.0,
    "progress_limit": 3.0,
}
RUN = Run(settings=SETTINGS, bounds={"test": 2}, quiet_at=100.0, wall_at_zero=1_000_000.0)


def log(*steps: str) -> tuple[LogEntry, ...]:
    """A log of `reason@seconds`, or `claimed@1:w1` by an owner; who writes is who usually does."""
    entries: list[LogEntry] = []
    before: str | None = None
    attempt, owner = 0, None
    for step in steps:
        word, _, owner_named = step.partition(":")
        reason, _, at = word.partition("@")
        if reason == "claimed":
            attempt, owner = attempt + 1, owner_named or "w1"
        by = owner if reason in OWNERS_OWN else "recovery"
        entries.append(
            LogEntry(len(entries), before, AFTER[reason], attempt, float(at), owner=owner, by=by, reason=reason)
        )
        before = AFTER[reason]
        if before != "processing":
            owner = None if reason == "submitted" else owner
    return tuple(entries)


def job(job_id: str, *steps: str, **fields: Any) -> Document:
    """A document whose state is where its log ends."""
    entries = log(*steps)
    last = entries[-1]
    made = Document(
        id=job_id,
        read_at=100.0,
        state=last.after,
        attempt=last.attempt,
        log=entries,
        created_at=entries[0].at,
        run_at=entries[0].at,
        max_retries=3,
        tag=f"tag-{job_id}",
    )
    return replace(made, **fields)


DONE = ("submitted@1", "claimed@2", "completed@3")
"""The usual life of a job."""


def submit(job_id: str | None, /, *, index: int = 0, at: float = 0.9, **fields: Any) -> Operation:
    """A submission that was accepted; `fields` make it another."""
    made = Operation(
        index=index,
        client="c1",
        op="submit",
        invoked=at,
        completed=at + 0.2,
        outcome="ok",
        status=201,
        job_id=job_id,
        state="queued",
        tag=f"tag-{job_id}",
        echoed_tag=f"tag-{job_id}",
        digest="d1",
    )
    return replace(made, **fields)


def read(job_id: str, *, at: float, index: int = 10, **fields: Any) -> Operation:
    """A job view that a client was shown."""
    made = Operation(
        index=index, client="c1", op="get", invoked=at, completed=at + 0.1, outcome="ok", status=200, job_id=job_id
    )
    return replace(made, **fields)


def cancel(job_id: str, *, at: float, status: int, **fields: Any) -> Operation:
    """A cancel and its answer."""
    made = Operation(
        index=20,
        client="c1",
        op="cancel",
        invoked=at,
        completed=at + 0.1,
        outcome="ok" if status < 300 else "fail",
        status=status,
        job_id=job_id,
        state="cancelled" if status == 200 else None,
    )
    return replace(made, **fields)


def ran(job_id: str, attempt: int = 1, *, at: float, phase: str = "start", pid: int = 11, **fields: Any) -> Effect:
    """An effect."""
    return Effect(job_id=job_id, attempt=attempt, at=at, phase=phase, pid=pid, **fields)


def fault(kind: str, target: str, *, at: float, id_: str = "f1", **fields: Any) -> FiredFault:
    """A fault that fired."""
    return FiredFault(id=id_, at=at, kind=kind, target=target, **fields)


def planned(kind: str, target: str, *, at: float, id_: str = "f1") -> PlannedFault:
    """A fault that was asked for."""
    return PlannedFault(id=id_, at=at, kind=kind, target=target)


def index(*steps: str) -> tuple[QueueEvent, ...]:
    """Events of pool `test`: `ready:j1@1=5` (place 5), `claimed:j1@2#call`, `left:j1@3`, `lost@4`, `complete@5`."""
    events = []
    for order, step in enumerate(steps):
        head, _, call = step.partition("#")
        head, _, place = head.partition("=")
        head, _, at = head.partition("@")
        kind, _, job_id = head.partition(":")
        events.append(
            QueueEvent(order, float(at), "test", kind, job_id=job_id, place=float(place) if place else None, call=call)
        )
    return tuple(events)


def whole(*documents: Document, **fields: Any) -> History:
    """A history of these documents, each submitted and accepted, with the usual effects."""
    operations = tuple(submit(d.id, index=n, at=d.created_at - 0.1) for n, d in enumerate(documents))
    effects = tuple(
        ran(d.id, entry.attempt, at=entry.at + 0.01, pid=100 + sum(map(ord, entry.owner or "")))
        for d in documents
        for entry in d.log
        if entry.after == "processing"
    )
    return replace(History(RUN, operations=operations, documents=documents, effects=effects), **fields)


def more(history: History, **added: Any) -> History:
    """The same history with more records."""
    longer: dict[str, Any] = {name: (*getattr(history, name), *records) for name, records in added.items()}
    return replace(history, **longer)


def finds(checker: Checker, history: History) -> set[str]:
    """The rules that a checker finds broken."""
    report: Report = checker(history)
    assert report.looked_at > 0, "it looked at nothing"
    return set(report.rules)
