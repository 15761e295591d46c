"""What `GET /v1/overview` answers."""

from __future__ import annotations

from typing import Literal

from headrace.contracts.api import View
from headrace.contracts.values import Timestamp

PartStatus = Literal["ok", "degraded", "down", "unknown"]
"""`unknown`: nobody could be asked, because the store that knows does not answer."""
WorkerState = Literal["alive", "late", "lost", "stopped"]
LIVING = frozenset[WorkerState]({"alive", "late"})
"""A worker service in one of these runs jobs, as far as is known."""


class PartView(View):
    """One part of the whole and how it does."""

    name: str
    kind: Literal["store", "service", "worker"]
    status: PartStatus
    detail: str


class SlotsView(View):
    """Room for running jobs."""

    busy: int
    total: int


class PoolView(View):
    """One pool. What only Redis knows is null while Redis does not answer."""

    name: str
    waiting: dict[str, int] | None
    delayed: int | None
    in_flight: int | None
    oldest_waiting_seconds: float | None
    paused: bool
    paused_reason: str | None
    complete: bool | None
    slots: SlotsView
    workers: int
    size_limit: int
    types: list[str]


class WorkerView(View):
    """One worker service, from its last heartbeat; from its leases (without a process) while Redis does not answer."""

    service: str
    host: str
    pid: int | None
    version: str
    state: WorkerState
    heartbeat_age_seconds: float | None
    slots: int
    busy: int | None
    pools: list[str]


class RunningView(View):
    """A job that a child runs, as of the heartbeat."""

    id: str
    attempt: int
    seconds: float
    progress: float | None


class ChildView(View):
    """One process of a worker service."""

    incarnation: str
    pid: int
    pool: str
    slots: int
    busy: int
    rss_bytes: int
    cpu_seconds: float
    running: list[RunningView]


class WorkerDetail(WorkerView):
    """A worker service with its processes."""

    children: list[ChildView]


class WorkerList(View):
    """Every worker service that was heard of in the last ten minutes."""

    workers: list[WorkerDetail]


class AttentionView(View):
    """Something that somebody should look at. `link` is a path of the dashboard."""

    level: Literal["down", "degraded"]
    text: str
    link: str


class RecoveryView(View):
    """Who leads recovery."""

    leading: bool
    leader: str | None
    epoch: int | None
    until: Timestamp | None


class OverviewView(View):
    """The whole at one moment.

    `jobs` counts each state up to 10,000; a state that could not be counted is absent. `recovery` is null while MongoDB
    does not answer. `at`: when looking began.
    """

    status: Literal["ok", "degraded", "down"]
    parts: list[PartView]
    jobs: dict[str, int]
    pools: list[PoolView]
    workers: list[WorkerView]
    recovery: RecoveryView | None
    attention: list[AttentionView]
    at: Timestamp

    def part(self, name: str) -> PartView:
        """One of the stores or services, which are always there."""
        return next(part for part in self.parts if part.name == name)
