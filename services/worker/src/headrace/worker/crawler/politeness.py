"""How gently each host is treated: room for open requests, and time between two."""

from __future__ import annotations

import asyncio
from collections import Counter

FORGET_AT = 1024
"""So many remembered moments are looked through for those that are over."""


class Politeness:
    """Counts the open visits of each host and hands out moments to send.

    Memory: one entry for each host that is visited now or must not be asked yet, and `FORGET_AT` more.
    """

    def __init__(self, *, per_host: int) -> None:
        self._per_host = per_host
        self._open: Counter[str] = Counter()
        self._next_at: dict[str, float] = {}
        self._paused_until: dict[str, float] = {}
        self._forget_at = FORGET_AT

    def has_room(self, host: str) -> bool:
        """Whether one more visit may be opened."""
        return self._open.get(host, 0) < self._per_host

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
        while True:
            now = clock()
            moment = max(now, self._next_at.get(host, 0.0), self._paused_until.get(host, 0.0))
            if delay_seconds > 0:
                self._next_at[host] = moment + delay_seconds
                self._forget(now)
            if moment > now:
                await asyncio.sleep(moment - now)
            if self._paused_until.get(host, 0.0) <= clock():
                return
            # A pause began meanwhile: line up again, or all who waited would send together at its end.

    def pause(self, host: str, seconds: float) -> None:
        """Send nothing to this host for a while; visits that already wait for their turn wait longer."""
        now = asyncio.get_running_loop().time()
        self._paused_until[host] = max(now + seconds, self._paused_until.get(host, 0.0))
        self._forget(now)

    def _forget(self, now: float) -> None:
        """Drop the moments that are over; the next look comes when there are twice as many as are left."""
        if len(self._next_at) + len(self._paused_until) < self._forget_at:
            return
        self._next_at = {host: moment for host, moment in self._next_at.items() if moment > now}
        self._paused_until = {host: moment for host, moment in self._paused_until.items() if moment > now}
        self._forget_at = FORGET_AT + 2 * (len(self._next_at) + len(self._paused_until))
