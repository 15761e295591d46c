"""The event log: what happened to jobs lately, in one bounded Redis stream that readers can resume.

Events are hints. Losing some is told to readers as a gap; nobody's job depends on one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.events import JobEvent
from headrace.runtime.queue import scripts
from headrace.runtime.queue.event_rows import EventId, EventRow, from_entry, to_entries, to_event, to_row
from headrace.runtime.queue.keys import Keys
from headrace.runtime.queue.listener import Listener

LOG_BYTES = 4 * 2**20
"""What the log may hold: about 50,000 events of short jobs."""
CALL_ENTRIES = 64
PAGE_ENTRIES = 32
SEND_SECONDS = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class EventPage:
    """A stretch of the log.

    Attributes:
        events: With their ids, oldest first.
        gap: Events between `after` and the first one here, or among these, are lost, or cannot be told not to be.
        last: Where to read on; None: nothing is known there.
    """

    events: tuple[tuple[str, JobEvent], ...]
    gap: bool
    last: str | None


class EventLog:
    """The event log of one namespace.

    Args:
        redis: Of the kind `command`; `hints` wants one of the kind `pubsub`.
        namespace: Prefix of every key and channel.
        limit_bytes: What the log may hold.
    """

    def __init__(self, redis: Redis, namespace: str, *, limit_bytes: int = LOG_BYTES) -> None:
        self._redis = redis
        keys = Keys(namespace)
        self._key = keys.event_log
        self._channel = keys.events
        self._limit_bytes = limit_bytes
        self._is_sending = True

    async def publish(self, events: Sequence[JobEvent]) -> bool:
        """Add events, oldest first, in one round trip. False: not added, as far as is known; nobody need repeat it."""
        return await self.append([to_row(event) for event in events])

    async def append(self, rows: Sequence[EventRow], *, lost: bool = False) -> bool:
        """The same for rows.

        Args:
            rows: Oldest first. Beyond some thousands the newest are left out.
            lost: Events before these were dropped by the caller: readers are told of a gap.
        """
        if not rows:
            return True
        try:
            entries = list(to_entries(rows))
            async with asyncio.timeout(SEND_SECONDS):
                await scripts.run(
                    self._redis,
                    "announce",
                    [self._key],
                    [self._channel, self._limit_bytes, int(lost), *entries[:CALL_ENTRIES]],
                )
        except (StoreUnavailableError, TimeoutError) as error:
            if self._is_sending:
                log.warning("events.not_sent", reason=getattr(error, "detail", "Redis did not answer in time"))
            self._is_sending = False
            return False
        if not self._is_sending:
            log.info("events.sent_again")
        self._is_sending = True
        return True

    async def end(self) -> str:
        """The id of the newest event: whoever reads on from it misses nothing, or is told.

        Raises:
            StoreUnavailableError: Redis does not answer, or is full and the log is empty.
        """
        entry, text = await scripts.run(self._redis, "anchor", [self._key], [])
        return f"{entry}-{max(0, len(from_entry(text)) - 1)}"

    async def read(self, after: str | None, limit: int = 200) -> EventPage:
        """A stretch of the log.

        Args:
            after: An id of this log; None reads from the oldest event that is left.
            limit: Events at most.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        known = None if after is None else EventId.parse(after)
        if after is not None and known is None:
            return EventPage((), gap=True, last=None)
        first = "-" if known is None else known.entry
        count = min(PAGE_ENTRIES, max(1, limit)) + 1
        run, *entries = await scripts.run(self._redis, "history", [self._key], [first, count])
        # Only an entry that is still there, written by the server of now, vouches for everything after it.
        gap = known is not None and (not entries or entries[0][0] != known.entry or entries[0][1] != run)
        events: list[tuple[str, JobEvent]] = []
        last = known
        for entry, _, lost, text in entries:
            ms, seq = map(int, entry.split("-"))
            is_anchor = known is not None and entry == known.entry
            gap = gap or (lost == "1" and not is_anchor and known is not None)
            rows = from_entry(text)
            if not rows and (last is None or (ms, seq) > last[:2]):
                last = EventId(ms, seq, 0)
            for index, row in enumerate(rows):
                place = EventId(ms, seq, index)
                if known is not None and place <= known:
                    continue
                if len(events) == limit:
                    return EventPage(tuple(events), gap, str(last))
                last = place
                event = to_event(row)
                if event is not None:
                    events.append((str(place), event))
        return EventPage(tuple(events), gap, None if last is None else str(last))

    def hints(self) -> Listener:
        """Messages that say that there may be something new: after each `append`, and after each reconnect."""
        return Listener(self._redis, (self._channel,), greet=True)
