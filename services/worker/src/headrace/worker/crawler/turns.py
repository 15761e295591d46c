"""Pages are read one per round of the event loop, however many crawls share it.

A loop runs everything that is ready before it looks at its clock and sockets again. Eighty pages that have arrived
together, as ten crawls may have them, would be read in one go and hold up cancels and everything else for a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


@asynccontextmanager
async def reading_turn() -> AsyncIterator[None]:
    """Wait for the turn, first come first served; afterwards the loop looks at everything else first."""
    gate = _gates.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with gate:
        yield
        await asyncio.sleep(0)
