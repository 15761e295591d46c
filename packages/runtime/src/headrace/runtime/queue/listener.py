"""A subscription that survives its connection."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.queue.errors import translate

QUEUE_SIZE = 1000
READ_SECONDS = 1.0
PING_SECONDS = 5.0
"""A connection that said nothing for this long is asked; one that does not answer as long again is given up."""
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 2.0

log = structlog.get_logger(__name__)


class Listener:
    """Messages of some channels, as an asynchronous iterator that never ends by itself and never raises.

    At most `QUEUE_SIZE` messages wait for a slow reader; then the oldest go. Messages sent while there was no
    connection are lost.

    Args:
        redis: One connection of it is held.
        channels: Exact names.
        greet: Yield one empty message per channel after each subscription: something may have been missed.
    """

    def __init__(self, redis: Redis, channels: Sequence[str], *, greet: bool = False) -> None:
        self._redis = redis
        self._channels = tuple(channels)
        self._greet = greet
        self._messages: asyncio.Queue[tuple[str, str]] = asyncio.Queue(QUEUE_SIZE)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen_for_ever(), name="hints.listener")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, str]:
        """The next message: its channel and its text."""
        return await self._messages.get()

    async def _listen_for_ever(self) -> None:
        wait_seconds = FIRST_WAIT_SECONDS
        while True:
            started = time.monotonic()
            try:
                with translate():
                    await self._listen()
            except StoreUnavailableError as error:
                log.info("hints.connection_lost", reason=error.detail)
            except Exception as error:
                # A dead listener would be silence that nobody notices.
                log.exception("hints.listener_failed", error=type(error).__name__)
            if time.monotonic() - started > PING_SECONDS:
                wait_seconds = FIRST_WAIT_SECONDS
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, LONGEST_WAIT_SECONDS)

    async def _listen(self) -> None:
        pubsub = self._redis.pubsub()
        try:
            async with asyncio.timeout(PING_SECONDS):
                await cast("Any", pubsub.subscribe(*self._channels))
            await self._read(pubsub)
        finally:
            with contextlib.suppress(StoreUnavailableError), translate():
                await cast("Any", pubsub).aclose()

    async def _read(self, pubsub: PubSub) -> None:
        heard = asked = time.monotonic()
        while True:
            message = await cast("Any", pubsub.get_message(timeout=READ_SECONDS))
            now = time.monotonic()
            if message is not None:
                heard = asked = now
                self._take(message)
            elif now - heard > 2 * PING_SECONDS:
                raise TimeoutError
            elif now - asked > PING_SECONDS:
                asked = now
                await cast("Any", pubsub.ping())

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "message":
            self._put(str(message["channel"]), str(message["data"]))
        elif message["type"] == "subscribe" and self._greet:
            self._put(str(message["channel"]), "")

    def _put(self, channel: str, text: str) -> None:
        if self._messages.full():
            self._messages.get_nowait()
        self._messages.put_nowait((channel, text))
