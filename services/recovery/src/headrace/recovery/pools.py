"""Which pools there are, and going through them so that a broken one does not keep the others waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts

LOOK_SECONDS = 5.0
"""How long the list of pools is kept: a pool that is new has lost nothing yet."""


class Pools:
    """The names of all pools: those of registered types, with pending jobs, or with settings of their own."""

    def __init__(self, parts: Parts, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._clock = clock
        self._names: list[str] = []
        self._at: float | None = None

    async def names(self) -> list[str]:
        """The names, sorted, at most `LOOK_SECONDS` old."""
        if self._at is None or self._clock() - self._at >= LOOK_SECONDS:
            registered = await self._parts.job_types.pools()
            self._names = sorted({*registered, *await self._parts.reconcile.pools()})
            self._at = self._clock()
        return self._names

    async def each(self, visit: Callable[[str], Awaitable[Counts]], *, at_once: int = 1) -> Counts:
        """Visit every pool and add up.

        Args:
            visit: What to do with a pool.
            at_once: How many are visited beside each other.

        Raises:
            Exception: The failure of the first pool that had one, after every pool was visited.
        """
        room = asyncio.Semaphore(at_once)

        async def enter(pool: str) -> Counts | Exception:
            async with room:
                try:
                    return await visit(pool)
                except Exception as error:  # noqa: BLE001 -- raised below; the other pools come first
                    return error

        counts = Counts()
        failure: Exception | None = None
        for outcome in await asyncio.gather(*(enter(pool) for pool in await self.names())):
            if isinstance(outcome, Exception):
                failure = failure or outcome
            else:
                counts += outcome
        if failure is not None:
            raise failure
        return counts
