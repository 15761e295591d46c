"""Room in a pool by a count in MongoDB, for as long as Redis does not know how many jobs there are.

A count of a million jobs takes longer than a hundred submissions, so one serves many: what this scheduler has admitted
since it began is added to it. The sum is never below the truth but for what other schedulers admit, and it is good for
`MAX_UNSEEN` jobs only, so that several schedulers together never pass a bound by more than that for each of the others.
Nobody is refused by such a sum: before that the jobs are counted anew.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from headrace.scheduler.intake import MAX_BATCH
from headrace.scheduler.tasks import Tasks

MAX_UNSEEN = MAX_BATCH
"""Jobs that a scheduler admits by one count at most: what the others cannot know of. The same as one batch."""
AHEAD = MAX_UNSEEN // 2
"""After so many the next count begins, beside those who submit, so that they need not wait for it."""

Count = Callable[[str, int], Awaitable[int]]
"""(pool, cap) → how many jobs of the pool are not over, counted up to the cap, by a majority."""


@dataclass(eq=False)
class _Counted:
    """A count, and what may have been stored since it began."""

    cap: int
    found: int = 0
    since: int = 0


@dataclass(eq=False)
class _Pool:
    under_way: int = 0
    """Jobs that may be stored at any moment, whoever let them in."""
    by_count: int = 0
    """Those of them that were let in by a count: they have no place in Redis."""
    known: _Counted | None = None
    counting: _Counted | None = None
    refused: int = 0
    """Callers for whom the known count is not enough; until they have theirs nobody uses the known one."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last job that was let in by a count has ended its way."""

    def room(self, limits: Sequence[int]) -> int:
        """For how many of the jobs there is room: a prefix, since the limits do not rise."""
        if self.known is None:
            return 0
        pending = self.known.found + self.known.since + self.under_way
        return sum(pending + at < limit for at, limit in enumerate(limits))

    def has_room(self, limits: Sequence[int]) -> bool:
        """Whether the known count lets all of them in. One that reached its cap says nothing about a larger limit."""
        if self.known is None or self.known.found >= self.known.cap:
            return False
        unseen = self.known.since + self.under_way + len(limits)
        return unseen <= MAX_UNSEEN and self.room(limits) == len(limits)

    def begin(self, number: int) -> None:
        self.under_way += number

    def end(self, number: int, *, stored: int) -> None:
        self.under_way -= number
        for count in (self.known, self.counting):
            if count is not None:
                count.since += stored


class Placed:
    """Jobs that ask for places in Redis, none of which has one yet."""

    def __init__(self, state: _Pool, number: int) -> None:
        self._state, self._number, self._granted = state, number, 0
        state.begin(number)

    def grant(self, number: int) -> None:
        """The first so many got places. Redis knows the pool again, so what was counted before is of no more use."""
        self._state.end(self._number - number, stored=0)
        self._number = self._granted = number
        self._state.known = None

    def end(self) -> None:
        """They are stored or not."""
        self._state.end(self._number, stored=self._granted)


class CountedRoom:
    """Lets jobs into pools by counts in MongoDB.

    Args:
        count: Counts.
        tasks: Where a count ahead of time runs.
    """

    def __init__(self, count: Count, tasks: Tasks) -> None:
        self._count = count
        self._tasks = tasks
        self._pools: defaultdict[str, _Pool] = defaultdict(_Pool)

    def admitted(self, pool: str) -> int:
        """How many jobs were let in by a count and are still on their way: Redis may not have them yet."""
        return self._pools[pool].by_count

    @contextmanager
    def placed(self, pool: str, number: int) -> Iterator[Placed]:
        """Jobs that may be stored by places in Redis: a count beside them must not miss them."""
        jobs = Placed(self._pools[pool], number)
        try:
            yield jobs
        finally:
            jobs.end()

    @asynccontextmanager
    async def let_in(self, pool: str, limits: Sequence[int]) -> AsyncIterator[int]:
        """How many of the jobs may be stored now, the first ones; to be held until they are stored and in Redis.

        Args:
            pool: The pool.
            limits: Of each job: below how many pending jobs it is admitted. They do not rise.

        Raises:
            StoreUnavailableError: MongoDB does not answer.
        """
        state = self._pools[pool]
        if state.refused or not state.has_room(limits):
            await self._count_anew(pool, state, limits)
        number = state.room(limits)  # nothing is awaited from the look to here
        state.begin(number)
        state.by_count += number
        state.quiet.clear()
        self._count_ahead(pool, state, limits)
        try:
            yield number
        finally:
            state.by_count -= number
            state.end(number, stored=number)
            if not state.by_count:
                state.quiet.set()

    async def _count_anew(self, pool: str, state: _Pool, limits: Sequence[int]) -> None:
        state.refused += 1
        try:
            async with state.turn:
                if state.has_room(limits):
                    return  # somebody has counted meanwhile
                if state.by_count:
                    # A job that is seen by the count and under way would count twice, and refuse one too many.
                    await state.quiet.wait()
                await self._take(pool, state, cap=limits[0] + 1)
        finally:
            state.refused -= 1

    def _count_ahead(self, pool: str, state: _Pool, limits: Sequence[int]) -> None:
        if state.known is None or state.known.since + state.under_way < AHEAD or state.turn.locked():
            return

        async def count() -> None:
            async with state.turn:
                await self._take(pool, state, cap=limits[0] + 1)

        self._tasks.afterwards("count_ahead", count())

    async def _take(self, pool: str, state: _Pool, *, cap: int) -> None:
        counting = state.counting = _Counted(cap)
        try:
            counting.found = await self._count(pool, cap)
        finally:
            state.counting = None
        state.known = counting
