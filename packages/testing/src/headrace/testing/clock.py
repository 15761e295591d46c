"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2030, 1, 1, tzinfo=UTC)


class FakeClock:
    """Stands in for `time.monotonic` (call it), for the wall clock (`now`) and for `asyncio.sleep` (`sleep`).

    For one event loop: `advance` wakes sleepers of the loop it is called in.

    Args:
        start: What `now` says first; `monotonic` begins at 0.
    """

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        """Seconds since the clock was made."""
        return self._seconds

    monotonic = __call__

    def now(self) -> datetime:
        """The time, aware and in UTC."""
        return self._start + timedelta(seconds=self._seconds)

    @property
    def sleepers(self) -> int:
        """How many coroutines sleep on this clock."""
        return sum(1 for _, future in self._sleepers if not future.done())

    def advance(self, seconds: float) -> None:
        """Move on, and wake those whose time has come, the earliest first.

        They run at the next turn of the event loop; await something before you look at what they did.

        Raises:
            ValueError: Time does not go back.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot advance by {seconds} s")
        self._seconds += seconds
        due = sorted((item for item in self._sleepers if item[0] <= self._seconds), key=lambda item: item[0])
        self._sleepers = [item for item in self._sleepers if item[0] > self._seconds]
        for _, future in due:
            if not future.done():
                future.set_result(None)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved this far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._seconds + seconds, future))
        await future
