"""One open event stream: what it wants, and what waits for its client. Never more than a fixed number."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from headrace.contracts.events import JobEvent
from headrace.runtime.queue.event_rows import EventId

MAX_WAITING = 256
"""A client that is further behind gets a gap instead."""


@dataclass(frozen=True)
class Item:
    """One event of the log, with its id."""

    id: EventId
    event: JobEvent


@dataclass(frozen=True)
class Wanted:
    """Which events a stream carries. Everything given must hold."""

    job_id: str | None = None
    type: str | None = None
    pool: str | None = None
    tenant: str | None = None

    def __contains__(self, event: JobEvent) -> bool:
        return (
            (self.job_id is None or event.id == self.job_id)
            and (self.type is None or event.type == self.type)
            and (self.pool is None or event.pool == self.pool)
            and (self.tenant is None or event.tenant == self.tenant)
        )


@dataclass(frozen=True)
class Gap:
    """Events are lost. `resume_at` is where to go on from, if that is known."""

    resume_at: EventId | None


@dataclass(frozen=True)
class Over:
    """The truth says that the job of the stream is over; None: it is gone."""

    event: JobEvent | None


@dataclass(eq=False)
class EventStream:
    """What the hub puts in and one handler takes out. Event loop only."""

    wanted: Wanted
    start: EventId | None
    """Everything after this comes by itself; what was before must be read. None: not known, Redis is away."""
    _waiting: deque[Item | Gap | Over] = field(default_factory=deque)
    _some: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, item: Item) -> None:
        """Take an event of the log, if it is wanted."""
        if item.event not in self.wanted:
            return
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.clear()
            self.tell(Gap(item.id))
        else:
            self.tell(item)

    def tell(self, what: Item | Gap | Over) -> None:
        """Take what every stream must hear."""
        if isinstance(what, Gap):
            # Whoever is told of a gap looks at the truth; what waited is older than that.
            self._waiting.clear()
        self._waiting.append(what)
        self._some.set()

    async def take(self, *, within: float) -> Item | Gap | Over | None:
        """The next, or None after `within` seconds."""
        if not self._waiting:
            self._some.clear()
            try:
                async with asyncio.timeout(within):
                    await self._some.wait()
            except TimeoutError:
                return None
        return self._waiting.popleft()
