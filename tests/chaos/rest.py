"""Waits until everything is at rest, which is when a run is judged."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from .parts import POOL
from .stack import Stack
from .watchers import Watchers

LOOK_S = 4.0


class Rest:
    """The rest of a running system."""

    def __init__(self, stack: Stack, watchers: Watchers) -> None:
        self._stack = stack
        self._watchers = watchers

    async def reached(self, *, within: float) -> None:
        """All jobs over, Redis empty and complete, and one full pass of recovery since."""
        deadline = self._stack.clock.now() + within
        since: float | None = None
        while self._stack.clock.now() < deadline:
            with suppress(TimeoutError):  # whatever a look waits for, the deadline is kept
                async with asyncio.timeout(LOOK_S):
                    if not await self._at_rest():
                        since = None
                    elif since is None:
                        since = time.time()
                    elif await self._last_full_pass() > since:
                        return
            await asyncio.sleep(0.2)

    async def _at_rest(self) -> bool:
        try:
            if await self._watchers.database.jobs.count_documents({"state": {"$in": ["queued", "processing"]}}):
                return False
            depths = await self._watchers.queue.depths(POOL)
        except Exception:  # noqa: BLE001 -- a store that is not back yet is not at rest
            return False
        return depths.complete and not (sum(depths.waiting.values()) or depths.delayed or depths.in_flight)

    async def _last_full_pass(self) -> float:
        passes = [
            (await self._stack.metrics(part)).get(("job_recovery_last_full_pass_seconds", ()), 0.0)
            for part in self._stack.of_role("recovery")
            if part.runs
        ]
        return max(passes, default=0.0)
