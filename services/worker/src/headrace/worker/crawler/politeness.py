"""How gently each host is treated: room for open requests, and time between two."""

from __future__ import annotations

import asyncio
from collections import Counter


class Politeness:
    """Counts the open visits of each host and hands out moments to send."""

    def __init__(self, *, per_host: int) -> None:
        self._per_host = per_host
        self._open: Counter[str] = Counter()
        self._next_at: dict[str, float] = {}
        self._paused_until: dict[str, float] = {}

    def has_room(self, host: str) -> bool:
        """Whether one more visit may be opened."""
        return self._open[host] < self._per_host

    def enter(self, host: str) -> None:
        """A visit begins."""
        self._open[host] += 1

    def leave(self, host: str) -> None:
        """A visit ends."""
        self._open[host] -= 1
        if not self._open[host]:
            del self._open[host]

    async def turn(self, host: str, delay_seconds: float) -> None:
        """Wait until a request to this host may be sent: `delay_seconds` after the one before, and after any pause."""
        clock = asyncio.get_running_loop().time
        moment = max(clock(), self._next_at.get(host, 0.0))
        if delay_seconds > 0:
            self._next_at[host] = moment + delay_seconds
        # Again after each sleep: a pause may have begun meanwhile.
        while (wait := max(moment, self._paused_until.get(host, 0.0)) - clock()) > 0:  # noqa: ASYNC110  -- no event
            await asyncio.sleep(wait)

    def pause(self, host: str, seconds: float) -> None:
        """Send nothing to this host for a while; visits that already wait for their turn wait longer."""
        until = asyncio.get_running_loop().time() + seconds
        self._paused_until[host] = max(until, self._paused_until.get(host, 0.0))
