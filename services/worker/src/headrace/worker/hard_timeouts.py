"""The transition that the supervisor writes for a job it has to stop by ending its process."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import structlog

from headrace.contracts.errors import NotFoundError, StoreUnavailableError
from headrace.contracts.events import EVENT_OF_TERMINAL, EventName, JobEvent
from headrace.runtime.queue.base import Entry
from headrace.runtime.queue.history import EventLog
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.job_types import JobType
from headrace.runtime.store.reads import Reads
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import SettleVerdict
from headrace.worker import outcome
from headrace.worker.board import Started

log = structlog.get_logger(__name__)


class HardTimeouts:
    """Writes the time-out of jobs that could not be stopped from inside.

    Args:
        by: The supervisor's name, for the jobs' logs.
        types: The installed job types, for their retry policies.
        reads: Where jobs are read.
        state: Where the transition is written.
        queue: Told afterwards.
        events: Told afterwards.
    """

    def __init__(
        self,
        *,
        by: str,
        types: Mapping[str, JobType],
        reads: Reads,
        state: JobStateManager,
        queue: RedisJobQueue,
        events: EventLog,
    ) -> None:
        self._by = by
        self._types = types
        self._reads = reads
        self._state = state
        self._queue = queue
        self._events = events

    async def write(self, job: Started, *, owner: str) -> None:
        """Say that the attempt timed out, if it is still this one. Never raises for a store or a job that is away."""
        try:
            try:
                stored = await self._reads.job(job.job_id)
            except NotFoundError:
                return  # nobody's time-out any more; the process must be replaced all the same
            if stored.attempt != job.attempt or stored.owner != owner:
                return
            settlement = outcome.failed(
                stored,
                outcome.JobTimeout(f"ran longer than {job.limit_seconds:g} s and could not be stopped"),
                policy=self._types[stored.type].policy.retry,
                jitter=random.random(),
                started_ms_ago=int((time.monotonic() - job.since) * 1000),
            )
            (answer,) = await self._state.settle([settlement], by=self._by, owner=owner)
            if answer.verdict is SettleVerdict.FENCED or answer.state is None:
                return
            over = answer.state.is_terminal
            await self._events.publish(
                [
                    JobEvent(
                        event=EVENT_OF_TERMINAL[answer.state] if over else EventName.RETRYING,
                        id=stored.id,
                        type=stored.type,
                        pool=stored.pool,
                        state=answer.state,
                        attempt=stored.attempt,
                        at=datetime.now(UTC),
                        tenant=stored.tenant,
                    )
                ]
            )
            if over:
                await self._queue.settle(stored.pool, [stored.id])
            else:
                entry = Entry(stored.id, answer.score, due_ms=answer.run_at_ms, token=stored.claim_token or "")
                await self._queue.requeue(stored.pool, [entry])
        except StoreUnavailableError as error:
            # The kill goes on: the orphan pass counts a crash for the culprit instead of a timeout.
            log.warning("child.timeout_not_written", job_id=job.job_id, detail=str(error))
