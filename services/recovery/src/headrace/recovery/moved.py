"""What recovery did to jobs in MongoDB, told to Redis: once, best effort.

The truth is written before, and what is lost here is found within seconds by sweep and reconcile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.events import EventName
from headrace.contracts.states import JobState
from headrace.recovery.parts import Parts
from headrace.runtime.queue import Entry
from headrace.runtime.store.event_reads import NAMES

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Moved:
    """A job that left `processing` by recovery's update.

    Attributes:
        token: The claim that its id is in flight under; nothing else is moved by the push.
        retried: Whether it waits again because its attempt failed; else it was handed back.
    """

    job_id: str
    pool: str
    type: str
    tenant: str | None
    attempt: int
    to: JobState
    score: int
    run_at_ms: int
    token: str
    retried: bool = False

    @property
    def event(self) -> EventName:
        """What listeners are told."""
        return EventName.RETRYING if self.retried and self.to is JobState.QUEUED else NAMES[self.to]


async def push_moved(parts: Parts, moved: Sequence[Moved]) -> None:
    """Let wait in Redis what waits again, and forget what is over."""
    try:
        for pool in sorted({item.pool for item in moved}):
            here = [item for item in moved if item.pool == pool]
            waiting = [
                Entry(item.job_id, item.score, item.run_at_ms, item.token)
                for item in here
                if item.to is JobState.QUEUED
            ]
            await parts.queue.requeue(pool, waiting)
            await parts.queue.settle(pool, [item.job_id for item in here if item.to.is_terminal])
    except StoreUnavailableError as error:
        log.warning("recovery.moved_not_pushed", count=len(moved), error=error.detail)
