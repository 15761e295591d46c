"""Events of what one child does to its jobs. Hints: made cheaply for every job, sent in batches, lost without harm.

`job.started` means that the executor has begun, not that the job was claimed; what follows a settlement is said only
after MongoDB has it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.events import EVENT_OF_TERMINAL, EventName
from headrace.contracts.states import JobState, Reason
from headrace.runtime.queue.event_rows import EventRow, to_row
from headrace.runtime.queue.event_sender import EventSender
from headrace.runtime.store.event_reads import EventReads
from headrace.runtime.store.values import Settled
from headrace.worker.held import Held

_STARTED = EventName.STARTED.value
_PROGRESS = EventName.PROGRESS.value
_RETRYING = EventName.RETRYING.value
_QUEUED = EventName.QUEUED.value
_PROCESSING = JobState.PROCESSING.value
_TERMINAL = {state: (name.value, state.value) for state, name in EVENT_OF_TERMINAL.items()}

log = structlog.get_logger(__name__)


class ChildAnnouncer:
    """What the parts of a child tell of their jobs. Any thread.

    Args:
        sender: Takes the events.
        pool: Of the child.
        reads: Where to look up jobs that the child does not hold.
    """

    def __init__(self, sender: EventSender, pool: str, reads: EventReads) -> None:
        self._sender = sender
        self._reads = reads
        self._pool = pool

    def started(self, held: Held) -> None:
        """The executor runs."""
        job = held.job
        self._sender.add(
            EventRow(
                _STARTED,
                job.id,
                job.type,
                self._pool,
                _PROCESSING,
                job.attempt,
                int(time.time() * 1000),
                None,
                job.tenant,
            )
        )

    def progressed(self, held: Held, progress: tuple[float, str]) -> None:
        """Its progress was saved."""
        job = held.job
        self._sender.add(
            EventRow(
                _PROGRESS,
                job.id,
                job.type,
                self._pool,
                _PROCESSING,
                job.attempt,
                int(time.time() * 1000),
                progress,
                job.tenant,
            )
        )

    def settled(self, settled: Iterable[tuple[Held, Settled | None]]) -> None:
        """Attempts have ended, and MongoDB says how. What it refused, or does not know, is no event of ours."""
        at_ms = int(time.time() * 1000)
        for held, answer in settled:
            if answer is None or answer.state is None:
                continue
            settlement, job = held.settlement, held.job
            if answer.state is JobState.QUEUED:
                state = answer.state.value
                if settlement is None or settlement.reason is not Reason.RELEASED:
                    name = _RETRYING
                elif held.started_at is None:
                    continue  # claimed ahead and handed back: nobody was told that it had left the queue
                else:
                    name = _QUEUED
            else:
                name, state = _TERMINAL[answer.state]
            progress = None if settlement is None else settlement.progress
            self._sender.add(
                EventRow(name, job.id, job.type, self._pool, state, job.attempt, at_ms, progress, job.tenant)
            )

    async def stand(self, job_ids: Sequence[str]) -> None:
        """These were moved by this child, which does not hold them: told as the truth has them now. Event loop only."""
        try:
            events = await self._reads.standing(job_ids)
        except StoreUnavailableError as error:
            log.info("events.not_looked_up", jobs=len(job_ids), detail=str(error))
            return
        for event in events.values():
            if event.state is not JobState.PROCESSING:
                self._sender.add(to_row(event))
