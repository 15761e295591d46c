"""The health of each part, and of the whole, from what was read. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from headrace.contracts.values import to_rfc3339
from headrace.monitor.scheduler_source import SchedulerFacts
from headrace.monitor.sources import QueueFacts, StoreFacts
from headrace.monitor.views import PartStatus, PartView, PoolView, RecoveryView, WorkerView

_WORKER_WORDS: dict[str, tuple[PartStatus, str]] = {
    "alive": ("ok", "beats"),
    "late": ("degraded", "its heartbeat is late"),
    "lost": ("down", "it went silent; its jobs are taken over"),
}


def store_parts(store: StoreFacts, queue: QueueFacts, pools: Sequence[PoolView]) -> list[PartView]:
    """MongoDB and Redis."""
    incomplete = [pool.name for pool in pools if pool.complete is False]
    mongo = PartView(
        name="mongodb", kind="store", status="down" if store.reason else "ok", detail=store.reason or "answers"
    )
    redis: tuple[PartStatus, str]
    if queue.reason:
        redis = ("down", f"{queue.reason}; jobs are accepted and run from MongoDB, more slowly")
    elif incomplete:
        redis = ("degraded", "the index is being rebuilt for " + ", ".join(incomplete))
    else:
        redis = ("ok", "answers")
    return [mongo, PartView(name="redis", kind="store", status=redis[0], detail=redis[1])]


def scheduler_part(scheduler: SchedulerFacts) -> PartView:
    """The scheduler by its own word."""
    if not scheduler.answered:
        status: PartStatus = "down"
    elif not scheduler.ready or scheduler.detail != "ready":
        status = "degraded"
    else:
        status = "ok"
    return PartView(name="scheduler", kind="service", status=status, detail=scheduler.detail)


def recovery_view(store: StoreFacts) -> RecoveryView | None:
    """Who leads recovery; None when nobody could say."""
    if store.reason or not store.lease.ok:
        return None
    lease = store.lease.value
    if lease is None:
        return RecoveryView(leading=False, leader=None, epoch=None, until=None)
    return RecoveryView(leading=lease.valid, leader=lease.holder or None, epoch=lease.epoch, until=lease.until)


def recovery_part(recovery: RecoveryView | None) -> PartView:
    """Recovery by its leader lease."""
    if recovery is None:
        status: PartStatus = "unknown"
        detail = "MongoDB does not say who leads"
    elif recovery.leading:
        status, detail = "ok", f"{recovery.leader} leads, epoch {recovery.epoch}"
    elif recovery.until is None:
        status, detail = "down", "none has ever led; jobs of dead workers are not taken over"
    else:
        since = to_rfc3339(recovery.until)
        status, detail = "down", f"nobody leads since {since}; jobs of dead workers are not taken over"
    return PartView(name="recovery", kind="service", status=status, detail=detail)


def worker_parts(workers: Iterable[WorkerView], *, known: bool) -> list[PartView]:
    """Each worker service that has not stopped in order, or one line that says that there is none.

    Args:
        workers: The services.
        known: False when neither store could say which services there are.
    """
    parts = []
    for worker in workers:
        if worker.state == "stopped":
            continue
        status, detail = _WORKER_WORDS[worker.state]
        name = f"{worker.service} on {worker.host}" + (f" ({worker.pid})" if worker.pid is not None else "")
        parts.append(PartView(name=name, kind="worker", status=status, detail=detail))
    if not known:
        return [PartView(name="workers", kind="worker", status="unknown", detail="neither store answers")]
    if not any(part.status != "down" for part in parts):
        parts.append(PartView(name="workers", kind="worker", status="down", detail="no worker lives; nothing runs"))
    return parts


def overall(parts: Sequence[PartView]) -> Literal["ok", "degraded", "down"]:
    """The whole: down when no job could be accepted, or none could run."""
    status = {part.name: part.status for part in parts}
    working = any(part.kind == "worker" and part.status in {"ok", "degraded", "unknown"} for part in parts)
    if status["mongodb"] == "down" or status["scheduler"] == "down" or not working:
        return "down"
    return "ok" if all(part.status == "ok" for part in parts) else "degraded"
