"""Idempotency keys whose first request is still under way in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
        await self._wait(name)
        self._busy[name] = asyncio.Event()
        try:
            yield
        finally:
            self._busy.pop(name).set()

    async def _wait(self, name: tuple[str, str]) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while name in self._busy:
                    await self._busy[name].wait()
        except TimeoutError:
            raise IdempotencyInFlightError(
                "the first request with this key is still under way; repeat it in a moment", retry_after_seconds=1
            ) from None
