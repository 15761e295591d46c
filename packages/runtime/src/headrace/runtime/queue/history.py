"""The event log: what happened to jobs lately, in one bounded Redis stream that readers can resume.

Events are hints. Losing some is told to readers as a gap; nobody's job depends on one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import structlog
from pydantic import ValidationError
from redis.asyncio import Redis

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.events import JobEvent
from headrace.contracts.job import Progress
from headrace.runtime.queue import scripts
from headrace.runtime.queue.keys import Keys
from headrace.runtime.queue.listener import Listener

LOG_BYTES = 4 * 2**20
"""What the log may hold: about 50,000 events of short jobs."""
ENTRY_ROWS = 64
ENTRY_BYTES = 32_768
CALL_ENTRIES = 64
PAGE_ENTRIES = 32
SEND_SECONDS = 1.0

log = structlog.get_logger(__name__)


class EventRow(NamedTuple):
    """A `JobEvent` as the log keeps it. Plain values, because worker children make two of these for each job."""

    event: str
    id: str
    type: str
    pool: str
    state: str
    attempt: int
    at_ms: int
    progress: tuple[float, str] | None = None
    tenant: str | None = None


class EventId(NamedTuple):
    """Where an event is: its entry in the stream, and its place there. Ordered as events are."""

    ms: int
    seq: int
    place: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}-{self.place}"

    @property
    def entry(self) -> str:
        """The entry, as Redis writes it."""
        return f"{self.ms}-{self.seq}"

    @staticmethod
    def parse(text: str) -> EventId | None:
        """The id in a text; None when it is none of ours."""
        found = _ID.fullmatch(text)
        return EventId(int(found[1]), int(found[2]), int(found[3])) if found else None


_ID = re.compile(r"([0-9]{1,15})-([0-9]{1,15})-([0-9]{1,6})")


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
            entries = list(_entries(rows))
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
        return f"{entry}-{max(0, len(_rows(text)) - 1)}"

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
            rows = _rows(text)
            if not rows and (last is None or (ms, seq) > last[:2]):
                last = EventId(ms, seq, 0)
            for index, row in enumerate(rows):
                place = EventId(ms, seq, index)
                if known is not None and place <= known:
                    continue
                if len(events) == limit:
                    return EventPage(tuple(events), gap, str(last))
                last = place
                event = _to_event(row)
                if event is not None:
                    events.append((str(place), event))
        return EventPage(tuple(events), gap, None if last is None else str(last))

    def hints(self) -> Listener:
        """Messages that say that there may be something new: after each `append`, and after each reconnect."""
        return Listener(self._redis, (self._channel,), greet=True)


def to_row(event: JobEvent) -> EventRow:
    """The row of an event. The time of its progress is the event's own."""
    return EventRow(
        event.event.value,
        event.id,
        event.type,
        event.pool,
        event.state.value,
        event.attempt,
        round(event.at.timestamp() * 1000),
        (event.progress.fraction, event.progress.message) if event.progress else None,
        event.tenant,
    )


def _entries(rows: Sequence[EventRow]) -> Iterator[str]:
    for first in range(0, len(rows), ENTRY_ROWS):
        yield from _pieces(rows[first : first + ENTRY_ROWS])


def _pieces(rows: Sequence[EventRow]) -> Iterator[str]:
    text = msgspec.json.encode(rows).decode()
    if len(text) <= ENTRY_BYTES or len(rows) == 1:
        yield text
    else:
        middle = len(rows) // 2
        yield from _pieces(rows[:middle])
        yield from _pieces(rows[middle:])


def _rows(text: str) -> list[Any]:
    try:
        rows = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        rows = None
    if not isinstance(rows, list):
        log.warning("events.entry_not_understood")
        return []
    return rows


def _to_event(row: Any) -> JobEvent | None:
    try:
        name, job_id, type_, pool, state, attempt, at_ms, progress, tenant = row
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        return JobEvent(
            event=name,
            id=job_id,
            type=type_,
            pool=pool,
            state=state,
            attempt=attempt,
            at=at,
            progress=Progress(fraction=progress[0], message=progress[1], at=at) if progress else None,
            tenant=tenant,
        )
    except (ValidationError, ValueError, TypeError, LookupError, OverflowError, OSError):
        log.warning("events.event_not_understood")
        return None
