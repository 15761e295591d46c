"""C11 (I11): the six recovery times, each with its bound and the job or process that set its maximum.

A time begins with the fault, or with the end of the last other fault that was on meanwhile: the bounds are promised
for one fault at a time. What no fault of the run calls for is not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.chaos.history import FiredFault, History, QueueEvent

from .attempts import KILLS, PRIMARY_LOSSES, Attempt, all_attempts, calm_since
from .report import Report, Violation

REDIS_LOSSES = frozenset({"flush", "empty-restart", "old-copy"})


@dataclass(frozen=True)
class Measured:
    """One time. `ended` None: it did not happen before the run's end."""

    fault: FiredFault
    began: float
    ended: float | None
    bound: float
    what: str


def check_times(history: History) -> Report:
    """Measure all that the run's faults allow."""
    violations: list[Violation] = []
    figures: dict[str, float] = {}
    notes: dict[str, str] = {}
    looked_at = 0
    for name, measure in MEASURES.items():
        found = list(measure(history))
        looked_at += len(found)
        figures[f"{name}: n"] = len(found)
        for item in found:
            seconds = _seconds(history, item)
            figures[f"{name}: bound, s"] = max(item.bound, figures.get(f"{name}: bound, s", 0.0))
            if seconds > figures.get(f"{name}: max, s", -1.0):
                figures[f"{name}: max, s"], notes[f"{name}: max, s"] = seconds, item.what
            if seconds > item.bound:
                end = "never" if item.ended is None else f"{seconds:.2f} s"
                says = f"after {item.fault.kind} of {item.fault.target} at {item.fault.at:.1f} s: {end}"
                violations.append(Violation(name, f"{says}; the bound is {item.bound:.2f} s ({item.what})"))
    return Report("C11 times", ("I11",), looked_at, tuple(violations), figures, notes)


def _seconds(history: History, item: Measured) -> float:
    if item.ended is None:
        return float("inf")
    return max(0.0, item.ended - calm_since(history, item.began, item.ended, besides=item.fault))


def _setting(history: History, name: str) -> float:
    """A setting that a bound is made of."""
    return history.run.settings[name]


def _worker_killed(history: History) -> Iterator[Measured]:
    """(a) What a killed worker held is claimable again."""
    attempts = all_attempts(history)
    for fault in history.fired:
        if fault.target not in {"worker", "child"} or not _kills(fault):
            continue
        bound = _setting(history, "lease") + _setting(history, "sweep") + 1
        for attempt in attempts.values():
            if attempt.owner in fault.owners and _held_at(attempt, fault.at):
                yield Measured(fault, fault.at, _freed(history, attempt), bound, attempt.job_id)
        for event in history.queue_events:
            holder = event.call.rpartition(".")[0]
            if event.kind == "claimed" and holder in fault.owners and event.at <= fault.at:
                mine = [a for a in attempts.values() if a.job_id == event.job_id and a.owner == holder]
                if not mine and _waits_at(history, event.job_id, fault.at):  # popped, and never claimed in MongoDB
                    freed = _ready_after(history, event.job_id, event.order), _moved_after(history, event, fault.at)
                    ended = min((at for at in freed if at is not None), default=None)
                    yield Measured(fault, fault.at, ended, bound, event.job_id)


def _kills(fault: FiredFault) -> bool:
    return fault.kind in KILLS or (fault.kind.startswith("failpoint:") and fault.kind.endswith(":exit137"))


def _held_at(attempt: Attempt, at: float) -> bool:
    return attempt.claim.at <= at and (attempt.end is None or attempt.end.at > at)


def _freed(history: History, attempt: Attempt) -> float | None:
    """When a job was claimable again, or over. Where the index was recorded, by the index."""
    if attempt.end is None:
        return None
    if attempt.end.after == "queued":
        for event in history.queue_events:
            if (
                event.job_id == attempt.job_id
                and event.kind in {"ready", "claimed"}
                and event.at >= attempt.end.at - 0.05
            ):
                return max(event.at, attempt.end.at)
    return attempt.end.at


def _waits_at(history: History, job_id: str, at: float) -> bool:
    """Whether a job was queued by its document; one that was cancelled before, or forged, need not come back."""
    steps = [entry for document in history.documents if document.id == job_id for entry in document.log]
    before = [entry for entry in steps if entry.at <= at]
    return bool(before) and before[-1].after == "queued"


def _moved_after(history: History, event: QueueEvent, at: float) -> float | None:
    """When somebody moved the job on in MongoDB: claimed without the index, cancelled, expired."""
    steps = (entry.at for document in history.documents if document.id == event.job_id for entry in document.log)
    return next((when for when in sorted(steps) if when > at), None)


def _ready_after(history: History, job_id: str, order: int) -> float | None:
    later = (e.at for e in history.queue_events if e.job_id == job_id and e.kind == "ready" and e.order > order)
    return next(later, None)


def _redis_lost(history: History) -> Iterator[Measured]:
    """(b) Redis' pools are whole again."""
    for fault, events in _losses(history):
        for pool in sorted({event.pool for event in events}):
            waiting = _runnable_at(history, pool, fault.at)
            bound = _setting(history, "probe") + len(waiting) / _setting(history, "rebuild_rate") + 2
            whole = next((e.at for e in events if e.pool == pool and e.kind == "complete"), None)
            yield Measured(fault, fault.over, whole, bound, f"pool {pool}, {len(waiting)} jobs")


def _redis_first(history: History) -> Iterator[Measured]:
    """(b) The first lost jobs are claimable again."""
    for fault, events in _losses(history):
        for pool in sorted({event.pool for event in events}):
            waiting = _runnable_at(history, pool, fault.at)
            if waiting:
                ready = (e.at for e in events if e.pool == pool and e.kind == "ready" and e.job_id in waiting)
                # While Redis is away workers claim straight from MongoDB.
                claimed = (
                    entry.at
                    for document in history.documents
                    if document.id in waiting
                    for entry in document.log
                    if entry.at >= fault.at
                )
                first = min((*ready, *claimed), default=None)
                yield Measured(fault, fault.over, first, _setting(history, "probe") + 2, f"pool {pool}")


def _losses(history: History) -> Iterator[tuple[FiredFault, list[QueueEvent]]]:
    for fault in history.fired:
        if fault.target == "redis" and fault.kind in REDIS_LOSSES:
            yield fault, [event for event in history.queue_events if event.at >= fault.at]


def _runnable_at(history: History, pool: str, at: float) -> set[str]:
    """The jobs of a pool that waited in MongoDB, due."""
    found = set()
    for document in history.documents:
        before = [entry for entry in document.log if entry.at <= at]
        if document.pool == pool and before and before[-1].after == "queued" and document.run_at <= at:
            found.add(document.id)
    return found


def _primary_lost(history: History) -> Iterator[Measured]:
    """(c) The first accepted submit after MongoDB's primary was lost."""
    submits = [op for op in history.operations if op.op == "submit"]
    for fault in history.fired:
        if fault.target == "mongod:primary" and fault.kind in PRIMARY_LOSSES:
            if not any(op.invoked >= fault.at for op in submits):
                continue
            done = [op.completed for op in submits if op.outcome == "ok" and op.invoked >= fault.at and op.completed]
            bound = _setting(history, "election") + 5
            yield Measured(fault, fault.at, min(done, default=None), bound, f"{len(done)} accepted after it")


def _leader_lost(history: History) -> Iterator[Measured]:
    """(d) Another recovery leads."""
    for fault in history.fired:
        if fault.target != "recovery:leader" or not (_kills(fault) or fault.kind == "pause"):
            continue
        before = [leader.holder for leader in history.leaders if leader.at <= fault.at]
        old = before[-1] if before else None
        new = (x for x in history.leaders if x.at > fault.at and x.holder is not None and x.holder != old)
        successor = next(new, None)
        woke_in_time = fault.kind == "pause" and fault.over - fault.at < _setting(history, "leader_ttl")
        if successor is None and woke_in_time:
            continue  # its lease had not run out, so there is no successor to wait for
        bound = _setting(history, "leader_ttl") + _setting(history, "sweep")
        what = f"after {old}" if successor is None else f"{successor.holder} after {old}"
        yield Measured(fault, fault.at, None if successor is None else successor.at, bound, what)


def _no_progress(history: History) -> Iterator[Measured]:
    """(e) A worker that lives and does not progress is reported."""
    roles = {process.name: process.role for process in history.processes}
    for fault in history.fired:
        if _stands_still(history, fault):
            reported = (
                p.at for p in history.probes if roles.get(p.process) == "worker" and not p.ready and p.at >= fault.at
            )
            bound = 2 * _setting(history, "progress_limit")
            yield Measured(fault, fault.at, next(reported, None), bound, fault.detail or fault.target)


def _stands_still(history: History, fault: FiredFault) -> bool:
    if fault.kind == "hold-gil":  # long enough, that is
        return fault.ended is not None and fault.ended - fault.at >= 2 * _setting(history, "progress_limit")
    return fault.kind == "block" and fault.target in {"worker", "child"}


def _graceful_stop(history: History) -> Iterator[Measured]:
    """(f) What a stopping worker had claimed and not started is ready again."""
    started = {(effect.job_id, effect.attempt) for effect in history.effects if effect.phase == "start"}
    attempts = all_attempts(history)
    for fault in history.fired:
        if fault.kind == "stop" and fault.target in {"worker", "worker:claiming", "child"}:
            for attempt in attempts.values():
                mine = attempt.owner in fault.owners and _held_at(attempt, fault.at)
                if mine and (attempt.job_id, attempt.number) not in started:
                    yield Measured(fault, fault.at, _freed(history, attempt), 2.0, attempt.job_id)


MEASURES: dict[str, Callable[[History], Iterator[Measured]]] = {
    "a worker killed": _worker_killed,
    "b Redis lost, all": _redis_lost,
    "b Redis lost, first": _redis_first,
    "c primary lost": _primary_lost,
    "d leader lost": _leader_lost,
    "e no progress": _no_progress,
    "f graceful stop": _graceful_stop,
}
"""Name of a time → how it is measured."""
