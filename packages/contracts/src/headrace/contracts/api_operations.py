"""What the HTTP API shows to operators: job types, breakers, dead letters, pools, the audit."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import RootModel

from headrace.contracts.api_base import View
from headrace.contracts.api_jobs import JobList
from headrace.contracts.values import Timestamp


class JobTypeView(View):
    """A job type as its workers registered it."""

    type: str
    pool: str
    payload_schema: dict[str, Any]
    timeout_seconds: float
    max_retries: int
    contract_version: int
    workers: int


class JobTypeList(View):
    """Every registered job type."""

    types: list[JobTypeView]


class BreakerView(View):
    """An open breaker of something that jobs depend on."""

    name: str
    state: Literal["open", "half-open"]
    opened_at: Timestamp
    retry_in_seconds: float
    failures: int
    types: list[str]
    error: str


class BreakerList(View):
    """Open breakers, by name. A dependency that works has none."""

    breakers: list[BreakerView]


class BreakerReset(View):
    """A breaker that was closed by hand."""

    name: str


class DeadLetterGroup(View):
    """Dead letters of one type that failed in the same way."""

    fingerprint: str
    type: str
    count: int
    first_at: Timestamp
    last_at: Timestamp
    sample_message: str


class DeadLetterGroups(View):
    """The largest groups of dead letters, the largest first."""

    groups: list[DeadLetterGroup]


class DeadLetterPage(RootModel[JobList | DeadLetterGroups]):
    """A page of dead letters, newest first; or their groups, where `group_by` was given."""


class Refusal(View):
    """A job that was left alone, with the code of the problem."""

    id: str
    code: str


class DeadLetterResult(View):
    """What an action on dead letters did.

    `matched` counts all that fit the filter; `done` those that were replayed or discarded now, at most `limit`.
    """

    matched: int
    done: int
    refused: list[Refusal]


class WaitingView(View):
    """Waiting jobs by priority."""

    high: int
    medium: int
    low: int


class SlotsView(View):
    """Slots of the workers of a pool, as their last heartbeats tell."""

    busy: int
    total: int


class PoolView(View):
    """How a pool stands. For a token with a tenant the jobs are that tenant's alone."""

    name: str
    waiting: WaitingView
    delayed: int
    in_flight: int
    oldest_waiting_seconds: float | None
    size_limit: int
    paused: bool
    paused_reason: str | None
    slots: SlotsView
    workers: int
    throughput_per_second: float | None


class PoolList(View):
    """Every pool, by name."""

    pools: list[PoolView]


class AuditEntryView(View):
    """One thing that somebody did."""

    id: str
    who: str
    tenant: str | None
    what: str
    target: str | None
    filter: dict[str, Any] | None
    count: int
    when: Timestamp


class AuditList(View):
    """A page of audit entries, newest first."""

    entries: list[AuditEntryView]
    next_cursor: str | None
