"""Events of what the scheduler does to jobs. Hints: late, or not at all, when Redis is away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headrace.contracts.events import EventName
from headrace.contracts.job import Job
from headrace.runtime.process.breaker import Breaker, BreakerState
from headrace.runtime.queue.event_rows import EventRow
from headrace.runtime.queue.event_sender import EventSender
from headrace.runtime.queue.history import EventLog


class Announcer:
    """Publishes events in batches, off the path of every request.

    Args:
        events: Where they go.
        breaker: Of Redis; while it is open, events are dropped.
    """

    def __init__(self, events: EventLog, breaker: Breaker) -> None:
        self._events = events
        self._breaker = breaker
        self._sender: EventSender | None = None
        self._is_closed = False

    def queued(self, jobs: Sequence[Job]) -> None:
        """New jobs were stored."""
        self._announce(EventName.QUEUED.value, jobs)

    def cancelled(self, job: Job) -> None:
        """A waiting job was cancelled."""
        self._announce(EventName.CANCELLED.value, [job])

    def close(self) -> None:
        """Let `run` end once what waits has been sent, or could not be."""
        self._is_closed = True
        if self._sender is not None:
            self._sender.close()

    async def run(self) -> None:
        """Publish until closed. Not to be cancelled."""
        self._sender = EventSender(
            self._events,
            asyncio.get_running_loop(),
            may_send=lambda: self._breaker.state is BreakerState.CLOSED,
        )
        if self._is_closed:
            self._sender.close()
        await self._sender.run()

    def _announce(self, event: str, jobs: Sequence[Job]) -> None:
        if self._sender is None or self._breaker.state is not BreakerState.CLOSED:
            return
        for job in jobs:
            at_ms = round(job.updated_at.timestamp() * 1000)
            row = EventRow(event, job.id, job.type, job.pool, job.state.value, job.attempt, at_ms, None, job.tenant)
            self._sender.add(row)
