"""Events of what the scheduler does to jobs. Hints: late, or not at all, when Redis is away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from headrace.contracts.events import EventName, JobEvent
from headrace.contracts.job import Job
from headrace.runtime.process.breaker import Breaker, BreakerState
from headrace.runtime.queue.hints import Hints

MAX_WAITING = 1000


class Announcer:
    """Publishes events one after the other, off the path of every request. The oldest go first when too many wait.

    Args:
        hints: Where they go.
        breaker: Of Redis; while it is open, events are dropped.
    """

    def __init__(self, hints: Hints, breaker: Breaker) -> None:
        self._hints = hints
        self._breaker = breaker
        self._waiting: deque[JobEvent] = deque(maxlen=MAX_WAITING)
        self._some = asyncio.Event()
        self._is_closed = False

    def queued(self, jobs: Sequence[Job]) -> None:
        """New jobs were stored."""
        self._announce(EventName.QUEUED, jobs)

    def cancelled(self, job: Job) -> None:
        """A waiting job was cancelled."""
        self._announce(EventName.CANCELLED, [job])

    def close(self) -> None:
        """Let `run` end; what still waits is dropped."""
        self._is_closed = True
        self._some.set()

    async def run(self) -> None:
        """Publish until closed. Not to be cancelled: redis-py swallows a cancel that comes while it sends."""
        while not self._is_closed:
            await self._some.wait()
            self._some.clear()
            while self._waiting and not self._is_closed:
                await self._hints.event(self._waiting.popleft())

    def _announce(self, event: EventName, jobs: Sequence[Job]) -> None:
        if self._breaker.state is not BreakerState.CLOSED:
            return
        self._waiting.extend(_event(event, job) for job in jobs[:MAX_WAITING])
        self._some.set()


def _event(event: EventName, job: Job) -> JobEvent:
    return JobEvent(
        event=event, id=job.id, type=job.type, pool=job.pool, state=job.state, attempt=job.attempt, at=job.updated_at
    )
