"""Events on their way into the log: collected from any thread, sent in batches, off the path of every job."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from headrace.runtime.queue.event_rows import EventRow
from headrace.runtime.queue.history import EventLog

MAX_WAITING = 4000
"""What one call can send; the oldest go first when more wait."""
PACE_SECONDS = 0.05
"""One call per so much time at most: at thousands of jobs a second its cost is shared by hundreds of events."""
PAUSE_SECONDS = 1.0


class EventSender:
    """Sends at once when nothing was sent lately, else with what comes until the next call.

    Args:
        events: Where they go.
        loop: Where `run` runs; `add` may be called from any thread.
        may_send: Asked before each call; while it says no, events are dropped.
    """

    def __init__(
        self, events: EventLog, loop: asyncio.AbstractEventLoop, *, may_send: Callable[[], bool] = lambda: True
    ) -> None:
        self._events = events
        self._loop = loop
        self._may_send = may_send
        self._waiting: deque[EventRow] = deque(maxlen=MAX_WAITING)
        self._is_signalled = False
        self._some = asyncio.Event()
        self._closed = asyncio.Event()
        self._has_lost = False

    def add(self, row: EventRow) -> None:
        """Take one event. Costs less than a microsecond while others wait."""
        if len(self._waiting) == MAX_WAITING:
            self._has_lost = True
        self._waiting.append(row)
        if not self._is_signalled:
            self._is_signalled = True
            self._loop.call_soon_threadsafe(self._some.set)

    def close(self) -> None:
        """Let `run` end once what waits has been sent, or could not be. Call on the event loop."""
        self._closed.set()
        self._some.set()

    async def run(self) -> None:
        """Send until closed. Not to be cancelled: redis-py swallows a cancel that comes while it sends."""
        while not self._closed.is_set():
            await self._some.wait()
            self._some.clear()
            # Before the queue is emptied: what is added from here on signals again.
            self._is_signalled = False
            sent = await self._send()
            await self._rest(PACE_SECONDS if sent else PAUSE_SECONDS)
        await self._send()

    async def _send(self) -> bool:
        rows = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not rows:
            return True
        sent = self._may_send() and await self._events.append(rows, lost=self._has_lost)
        self._has_lost = not sent
        return sent

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            pass
