"""Clocks of services that are wrong, and jump while they run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from headrace.local.ports import LOOPBACK

from .acts_processes import choose
from .history import PlannedFault
from .nemesis import DidNotFire, Ground, Hit, act
from .parts import Part

WITHIN_S = 30.0
NEAR_S = 30.0
"""How near to the wanted offset a service's clock must be to count as set."""


@act("clock", "worker", "recovery", "recovery:leader")
async def clock(ground: Ground, fault: PlannedFault) -> Hit:
    """The wall clock of one service, children included, jumps; its monotonic clock goes on."""
    offset = int(fault.details["offset"])
    while True:
        part = await choose(ground, fault)
        ground.stack.set_clock(part.name, offset)
        if await _until_it_shows(part, offset):
            break

    async def back() -> None:
        ground.stack.set_clock(part.name, 0)

    return Hit((part.pid,), detail=f"{part.name} by {offset:+d} s", heal=back)


async def _until_it_shows(part: Part, offset: int) -> bool:
    """The `Date` header of an answer is the service's own clock. False: the service is lost for good."""
    seen: float | None = None
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        for _ in range(int(WITHIN_S / 0.2)):
            try:
                async with session.get(f"http://{LOOPBACK}:{part.port}/healthz") as response:
                    seen = (parsedate_to_datetime(response.headers["Date"]) - datetime.now(UTC)).total_seconds()
            except (aiohttp.ClientError, TimeoutError, OSError, KeyError):
                seen = None
            if seen is not None and abs(seen - offset) < NEAR_S:
                return True
            if not part.wanted:
                return False
            await asyncio.sleep(0.2)
    raise DidNotFire(f"the clock of {part.name} was to be {offset:+d} s off and is {seen} s off")
