"""The two stores as the scheduler sees them: each behind its breaker, each call with a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.store.database import Database

T = TypeVar("T")

ANSWER_SECONDS = 1.5
"""How long a submission waits for a store before anything is sent: it is refused within two seconds."""
QUIET_SECONDS = 0.25
"""After so long without an answer MongoDB is asked for a sign of life before a job is sent to it."""


async def bounded(fn: Callable[[], Awaitable[T]], seconds: float, store: str) -> T:
    """Run a call that changes nothing.

    Raises:
        StoreUnavailableError: It took longer than `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            return await fn()
    except TimeoutError:
        raise StoreUnavailableError(f"{store} does not answer", retry_after_seconds=2) from None


class MongoLink:
    """MongoDB behind its breaker.

    Args:
        database: The open database.
        breaker: Refuses calls at once while MongoDB is known to be down.
    """

    def __init__(self, database: Database, breaker: Breaker) -> None:
        self.breaker = breaker
        self._database = database
        self._answered_at = float("-inf")
        self._indexes: asyncio.Task[None] | None = None

    async def read(self, fn: Callable[[], Awaitable[T]], *, seconds: float = 5.0) -> T:
        """Run a read.

        Raises:
            StoreUnavailableError: MongoDB did not answer within `seconds`, or is known to be down.
        """
        return await self._call(lambda: bounded(fn, seconds, "MongoDB"))

    async def write(self, fn: Callable[[], Awaitable[T]]) -> T:
        """Run a write, which is never cut short here: the store bounds it and says what is known of its outcome.

        Raises:
            StoreUnavailableError: It was not sent.
            OutcomeUnknownError: It was sent and not confirmed.
        """
        return await self._call(fn)

    async def awake(self, *, quiet_seconds: float = QUIET_SECONDS) -> None:
        """Return when MongoDB has answered within `quiet_seconds` and every index stands; with 0 it is asked anew.

        A frozen server takes a write and says nothing, so nobody could tell what became of it. Asking first turns
        that into a definite refusal. Under load there is always a fresh answer, and this costs nothing.

        Raises:
            StoreUnavailableError: It gives no sign of life.
        """
        if time.monotonic() - self._answered_at > quiet_seconds:
            await self.read(self._database.ping, seconds=ANSWER_SECONDS)
        await self._have_indexes()

    async def _have_indexes(self) -> None:
        # Without the unique ones no key would hold. Building them may take minutes on an old collection: the calls
        # of meanwhile wait for the one build, and say nothing about the health of MongoDB.
        if self._indexes is None or (self._indexes.done() and _has_failed(self._indexes)):
            self._indexes = asyncio.ensure_future(self._database.ensure_indexes())
        if not self._indexes.done():
            task = self._indexes
            await bounded(lambda: asyncio.shield(task), ANSWER_SECONDS, "MongoDB's index build")

    async def _call(self, fn: Callable[[], Awaitable[T]]) -> T:
        try:
            value = await self.breaker.call(fn)
        except StoreUnavailableError:
            self._answered_at = float("-inf")
            raise
        self._answered_at = time.monotonic()
        return value


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.cancelled() or task.exception() is not None


class RedisLink:
    """Redis behind its breaker."""

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker

    async def call(self, fn: Callable[[], Awaitable[T]]) -> T:
        """Run a verb of the queue.

        Raises:
            StoreUnavailableError: Redis did not answer, refused, or is known to be down.
        """
        return await self.breaker.call(fn)
