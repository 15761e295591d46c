"""What a queue of job ids is: the values it takes and gives, and the verbs that every implementation offers.

All times are milliseconds since 1970. A `score` is a place among the ready ids, `contracts.job.ready_score`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

SetName = Literal["ready", "delayed", "inflight", "reserved"]
Place = Literal["drop", "delayed", "leave"]

PROMOTE_LATE_MS = 50
"""Delayed ids become ready this long after they are due: the clock that judges the claim may be a little behind."""
PUTBACK_MS = 250
"""A refused id that is due comes back this much later, never at once: it would spin while another claim commits."""
CLAIM_ANSWER_MS = 60_000
"""How long a claim's answer is kept for a repeat with the same token; far above a caller's whole retry time."""
MAX_BATCH = 1000
"""Ids that one call asks for at most."""
PIECE = 500
"""Ids that one script is given at most: longer sequences are cut, so that no script holds the server up for long."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An id with its place. `due_ms` 0 = due now. `token`: the claim it was in flight under, as the caller saw it."""

    id: str
    score: int
    due_ms: int = 0
    token: str = ""


@dataclass(frozen=True, slots=True)
class Reservation:
    """How many of the ids asked for, from the first on, have a place.

    `complete=False`: the index is not known to hold every job of the pool, so nothing was granted and the caller
    counts elsewhere. `pending` counts every job of the pool that is not over, and places, after this reservation.
    """

    granted: int
    complete: bool
    now_ms: int
    pending: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Ids taken, best first.

    `next_due_ms`: when a claim can find the next delayed id (its due time plus `PROMOTE_LATE_MS`); None = none waits.
    """

    ids: tuple[str, ...]
    next_due_ms: int | None
    now_ms: int
    paused: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the job's document says about an id that is in flight.

    `drop`: there is no such job, or it is over. `delayed`: it waits until `due_ms`, and at least `PUTBACK_MS`.
    `leave`: it is being processed, so it stays in flight.
    """

    id: str
    place: Place
    due_ms: int = 0
    score: int = 0


@dataclass(frozen=True, slots=True)
class Depths:
    """How much is where. `waiting` counts by effective priority; `oldest_ms` is when the oldest waiting was created.

    `due` counts those of the delayed ones whose time has come.
    """

    waiting: Mapping[str, int]
    delayed: int
    in_flight: int
    reserved: int
    oldest_ms: int | None
    paused: bool
    complete: bool
    due: int = 0


@dataclass(frozen=True, slots=True)
class Located:
    """Where an id is. `score` is its number in that set: a place, a due time, a claim time or an expiry."""

    id: str
    place: SetName | None
    score: int | None
    token: str | None


@dataclass(frozen=True, slots=True)
class InFlight:
    """An id in flight as it was read. `token` None: under no token."""

    id: str
    claimed_ms: int
    token: str | None


class JobQueue(Protocol):
    """The verbs over ids. Every one may be repeated, or be applied late, without harm.

    All raise `StoreUnavailableError`; after it the effect is unknown, and the same call may simply be made again.
    Bad arguments raise `ValueError` before anything is sent.
    """

    async def reserve(
        self, pool: str, ids: Sequence[str], *, limit: int | Sequence[int], ttl_ms: int = 60_000
    ) -> Reservation:
        """Keep places for ids that will be inserted; grants a prefix of them. `limit`: one, or one for each id."""
        ...

    async def enqueue(self, pool: str, entries: Sequence[Entry], *, drop: Sequence[str] = ()) -> int:
        """Let ids wait, those that are nowhere yet, and free the places of `drop`. Returns how many were added."""
        ...

    async def claim(self, pool: str, *, token: str, count: int) -> Claim:
        """Take at most `count` of the best ids into flight. The same token gets the same ids for a minute."""
        ...

    async def settle(self, pool: str, ids: Sequence[str]) -> int:
        """Forget ids of jobs that are over. Returns how many were there."""
        ...

    async def remove(self, pool: str, ids: Sequence[str]) -> int:
        """The same as `settle`."""
        ...

    async def requeue(self, pool: str, entries: Sequence[Entry]) -> int:
        """Let ids wait again that are absent, in flight under `token` or under none. Returns how many moved."""
        ...

    async def release(self, pool: str, entries: Sequence[Entry]) -> int:
        """`requeue`, due now."""
        ...

    async def putback(self, pool: str, *, token: str, verdicts: Sequence[Verdict]) -> int:
        """Place claimed ids that the truth refused, those still in flight under `token`. Returns how many."""
        ...

    async def depths(self, pool: str) -> Depths:
        """How much is where."""
        ...

    async def pause(self, pool: str, on: bool, reason: str = "") -> None:
        """Stop claims, or let them go on."""
        ...
