"""Events as the event log keeps them: rows in JSON arrays, and their ids."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import structlog
from pydantic import ValidationError

from headrace.contracts.events import JobEvent
from headrace.contracts.job import Progress

ENTRY_ROWS = 64
ENTRY_BYTES = 32_768

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


def to_entries(rows: Sequence[EventRow]) -> Iterator[str]:
    """The rows as JSON arrays, each of a size that one entry may have."""
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


def from_entry(text: str) -> list[Any]:
    """The rows of an entry, none of which is known to be one; what is no array has none."""
    try:
        rows = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        rows = None
    if not isinstance(rows, list):
        log.warning("events.entry_not_understood")
        return []
    return rows


def to_event(row: Any) -> JobEvent | None:
    """The event of a row, or None if it is none of this version."""
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
