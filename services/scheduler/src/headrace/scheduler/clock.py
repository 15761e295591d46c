"""What time it is for a new job: Redis' clock, so that all schedulers agree (B10)."""

from __future__ import annotations

import time
from collections.abc import Callable


class StoreClock:
    """Redis' clock, carried on by the monotonic clock while Redis is away.

    Before Redis has answered for the first time it is the local clock.

    Args:
        monotonic: Seconds that never go back.
        wall: Seconds since 1970.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time):
        self._monotonic = monotonic
        self._wall = wall
        self._seen: tuple[int, float] | None = None

    def observe(self, now_ms: int) -> int:
        """Take Redis' time, which it has just told, and give it back."""
        self._seen = (now_ms, self._monotonic())
        return now_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        if self._seen is None:
            return int(self._wall() * 1000)
        now_ms, at = self._seen
        return now_ms + int((self._monotonic() - at) * 1000)
