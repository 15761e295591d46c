"""Events of what recovery does to jobs. Hints, sent once: the truth is written before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.events import JobEvent
from headrace.recovery.moved import Moved
from headrace.recovery.parts import Parts

log = structlog.get_logger(__name__)


async def announce_moved(parts: Parts, moved: Sequence[Moved]) -> None:
    """Tell that jobs were handed back or ended."""
    at = datetime.now(UTC)
    events = [
        JobEvent(
            event=item.event,
            id=item.job_id,
            type=item.type,
            pool=item.pool,
            state=item.to,
            attempt=item.attempt,
            at=at,
            tenant=item.tenant,
        )
        for item in moved
    ]
    await parts.events.publish(events)


async def announce_ended(parts: Parts, job_ids: Sequence[str]) -> None:
    """Tell how those of these jobs ended that are over."""
    try:
        standing = await parts.event_reads.standing(job_ids)
    except StoreUnavailableError as error:
        log.info("recovery.events_not_looked_up", jobs=len(job_ids), error=error.detail)
        return
    await parts.events.publish([event for event in standing.values() if event.state.is_terminal])
