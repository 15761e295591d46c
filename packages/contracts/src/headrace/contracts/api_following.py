"""The way of one job as the HTTP API tells it: history, events, why it waits, its lines, the pages of a crawl."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from headrace.contracts.api_base import View
from headrace.contracts.api_jobs import ErrorView, ProgressView
from headrace.contracts.events import JobEvent
from headrace.contracts.job import Job
from headrace.contracts.states import JobState, Reason
from headrace.contracts.values import Timestamp

WhyCode = Literal[
    "paused",
    "delayed",
    "backoff",
    "behind",
    "no-worker",
    "pool-at-capacity",
    "not-indexed",
    "dependency-open",
    "running",
    "terminal",
]
"""Why a job is where it is."""


class TransitionView(View):
    """One step of a job."""

    seq: int
    from_: JobState | None
    to: JobState
    attempt: int
    owner: str | None
    at: Timestamp
    reason: Reason

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        alias_generator=lambda name: "from" if name == "from_" else name,
    )


class HistoryView(View):
    """Every step of a job and its last errors."""

    transitions: list[TransitionView]
    errors: list[ErrorView]

    @staticmethod
    def of(job: Job) -> HistoryView:
        """The history of a stored job."""
        return HistoryView(
            transitions=[
                TransitionView(
                    seq=entry.seq,
                    from_=entry.from_,
                    to=entry.to,
                    attempt=entry.attempt,
                    owner=entry.owner,
                    at=entry.at,
                    reason=entry.reason,
                )
                for entry in job.log
            ],
            errors=[ErrorView.of(error) for error in job.errors],
        )


class JobEventView(View):
    """The data of one event of a stream."""

    id: str
    type: str
    pool: str
    state: JobState
    attempt: int
    progress: ProgressView | None
    at: Timestamp

    @staticmethod
    def of(event: JobEvent) -> JobEventView:
        """The view of an event."""
        return JobEventView(
            id=event.id,
            type=event.type,
            pool=event.pool,
            state=event.state,
            attempt=event.attempt,
            progress=ProgressView(**event.progress.model_dump()) if event.progress else None,
            at=event.at,
        )


class WhyReason(View):
    """One reason why a job is where it is."""

    code: WhyCode
    detail: str


class WhyView(View):
    """Why a job does not run, or that it does. `position` counts from 1; null where there is none, or it is too far."""

    reasons: list[WhyReason]
    position: int | None
    eta_seconds: float | None


class JobLogLine(View):
    """One line that a job printed or logged. `level` is `stdout`, `stderr`, or that of the log call."""

    seq: int
    attempt: int
    at: Timestamp
    level: str
    text: str


class JobLogPage(View):
    """Lines of a job, oldest first. Of each attempt the last 500 lines or 64 KiB are kept."""

    lines: list[JobLogLine]
    next_after: int
    """What to ask behind next; lines of a running job follow."""


class PageView(View):
    """One page of a crawl."""

    url: str
    final_url: str | None
    state: str
    status: int | None
    depth: int
    title: str | None
    bytes: int
    error: str | None


class PageList(View):
    """A stretch of the pages of a crawl, in the order of their keys."""

    pages: list[PageView]
    next_cursor: str | None
