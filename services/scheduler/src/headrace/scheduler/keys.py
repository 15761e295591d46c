"""Idempotency keys whose first request is still under way in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Set
from contextlib import asynccontextmanager, suppress

from headrace.contracts.errors import IdempotencyInFlightError

WAIT_SECONDS = 1.0


class KeysInFlight:
    """One request per key at a time. Between processes the unique index of the store decides."""

    def __init__(self) -> None:
        self._busy: dict[tuple[str, str], asyncio.Event] = {}

    @asynccontextmanager
    async def turn(self, scope: str, key: str) -> AsyncIterator[None]:
        """Hold the key; a later request waits for the first, at most `WAIT_SECONDS`.

        Args:
            scope: The token's name.
            key: As the client gave it.

        Raises:
            IdempotencyInFlightError: The first request is not done yet.
        """
        name = (scope, key)
        await self._wait([name])
        self._busy[name] = asyncio.Event()
        try:
            yield
        finally:
            self._busy.pop(name).set()

    @asynccontextmanager
    async def turns(self, scope: str, keys: Iterable[str]) -> AsyncIterator[Set[str]]:
        """Hold many keys of one scope, after waiting for earlier requests at most `WAIT_SECONDS` for all together.

        Yields:
            The keys that are held now. The others are still under way elsewhere. Nothing is held while it waits, so
            two callers whose keys overlap cannot block each other.
        """
        names = {(scope, key) for key in keys}
        with suppress(IdempotencyInFlightError):
            await self._wait(names)
        mine = {name for name in names if name not in self._busy}
        done = asyncio.Event()
        self._busy |= dict.fromkeys(mine, done)
        try:
            yield {key for _, key in mine}
        finally:
            for name in mine:
                self._busy.pop(name)
            done.set()

    async def _wait(self, names: Collection[tuple[str, str]]) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while busy := [self._busy[name] for name in names if name in self._busy]:
                    await busy[0].wait()
        except TimeoutError:
            raise IdempotencyInFlightError(
                "the first request with this key is still under way; repeat it in a moment", retry_after_seconds=1
            ) from None
