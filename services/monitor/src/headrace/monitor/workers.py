"""Worker services: how alive each one is, judged from its last heartbeat or, without Redis, from its leases."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from headrace.contracts.heartbeat import ChildBeat, Heartbeat, Incarnation
from headrace.monitor.sources import seconds_since
from headrace.monitor.views import ChildView, RunningView, SlotsView, WorkerDetail, WorkerState, WorkerView

LATE_AFTER_BEATS = 2
"""A heartbeat older than this many intervals is late. It is only a hint: the leases decide about jobs."""


def state_of(age_seconds: float, *, interval_seconds: float, lease_seconds: float) -> WorkerState:
    """How alive a service is whose last heartbeat is this old."""
    if age_seconds <= interval_seconds * LATE_AFTER_BEATS + 1:
        return "alive"
    return "late" if age_seconds <= lease_seconds else "lost"


def stale_children(
    beats: Iterable[Heartbeat], now_ms: int, *, interval_seconds: float, lease_seconds: float
) -> list[str]:
    """The children of services that have gone silent: did they end in order, or were they lost?"""
    return [
        child.incarnation
        for beat in beats
        if state_of(seconds_since(beat.at, now_ms), interval_seconds=interval_seconds, lease_seconds=lease_seconds)
        != "alive"
        for child in beat.children
    ]


def from_beats(
    beats: Sequence[Heartbeat],
    now_ms: int,
    *,
    interval_seconds: float,
    lease_seconds: float,
    ended: Collection[str],
) -> list[WorkerView]:
    """One line per service. One that is silent, and whose children all ended in order, has stopped; it is not lost.

    Args:
        beats: The last heartbeat of each service process.
        now_ms: Redis' clock.
        interval_seconds: Between two heartbeats.
        lease_seconds: After which jobs are taken from a silent worker.
        ended: Children that are known to have ended in order.
    """
    views = []
    for beat in beats:
        age = seconds_since(beat.at, now_ms)
        state = state_of(age, interval_seconds=interval_seconds, lease_seconds=lease_seconds)
        if state != "alive" and all(child.incarnation in ended for child in beat.children):
            state = "stopped"
        views.append(
            WorkerView(
                service=beat.service,
                host=beat.host,
                pid=beat.pid,
                version=beat.version,
                state=state,
                heartbeat_age_seconds=age,
                slots=beat.slots,
                busy=beat.busy,
                pools=sorted({child.pool for child in beat.children}),
            )
        )
    return sorted(views, key=lambda view: (view.host, view.service, view.pid or 0))


def from_leases(incarnations: Iterable[Incarnation], now: datetime) -> list[WorkerView]:
    """One line per service and host, from the leases of its children."""
    groups: dict[tuple[str, str], list[Incarnation]] = {}
    for incarnation in incarnations:
        groups.setdefault((incarnation.host, incarnation.service), []).append(incarnation)
    return [
        WorkerView(
            service=service,
            host=host,
            pid=None,
            version=children[0].version,
            state="alive" if max(child.lease_until for child in children) > now else "lost",
            heartbeat_age_seconds=None,
            slots=sum(child.slots for child in children),
            busy=None,
            pools=sorted({child.pool for child in children}),
        )
        for (host, service), children in sorted(groups.items())
    ]


def details(views: Iterable[WorkerView], beats: Iterable[Heartbeat]) -> list[WorkerDetail]:
    """The services with what their last heartbeats say about each process."""
    by_process = {(beat.host, beat.pid, beat.service): beat for beat in beats}
    found = []
    for view in views:
        beat = by_process.get((view.host, view.pid or 0, view.service))
        children = [_child(child) for child in beat.children] if beat is not None else []
        found.append(WorkerDetail(**view.model_dump(), children=children))
    return found


def _child(beat: ChildBeat) -> ChildView:
    return ChildView(
        incarnation=beat.incarnation,
        pid=beat.pid,
        pool=beat.pool,
        slots=beat.slots,
        busy=beat.busy,
        rss_bytes=beat.rss_bytes,
        cpu_seconds=beat.cpu_seconds,
        running=[RunningView(**job.model_dump()) for job in beat.running],
    )


def slots_of(pool: str, beats: Iterable[Heartbeat], living: Collection[tuple[str, int]]) -> tuple[SlotsView, int]:
    """The slots of a pool over the living services, and how many services serve it.

    Args:
        pool: Its name.
        beats: The last heartbeats.
        living: Host and pid of the services that count.
    """
    children = [
        (beat, child)
        for beat in beats
        if (beat.host, beat.pid) in living
        for child in beat.children
        if child.pool == pool
    ]
    slots = SlotsView(busy=sum(child.busy for _, child in children), total=sum(child.slots for _, child in children))
    return slots, len({(beat.host, beat.pid) for beat, _ in children})
