"""Pages of a store that are read while the ones before are worked on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
DEPTH = 2
"""Pages that wait at most; one more is being read, one more worked on."""


@dataclass(frozen=True)
class _End(Generic[T]):
    error: Exception | None = None


@asynccontextmanager
async def read_ahead(pages: AsyncGenerator[T, None]) -> AsyncIterator[AsyncIterator[T]]:
    """Read pages from now on, whether they are asked for yet or not; they come in their order.

    What the reading raises is raised where its page would have come. When the context ends the reading is given up and
    `pages` is closed.

    Args:
        pages: What to read; it belongs to this context from now on.
    """
    waiting: asyncio.Queue[T | _End[T]] = asyncio.Queue(DEPTH)

    async def read() -> None:
        end = _End[T]()
        try:
            async with aclosing(pages):
                async for page in pages:
                    await waiting.put(page)
        except Exception as error:  # noqa: BLE001 -- raised by `in_order`
            end = _End(error)
        await waiting.put(end)

    async def in_order() -> AsyncGenerator[T, None]:
        while not isinstance(page := await waiting.get(), _End):
            yield page
        if page.error is not None:
            raise page.error

    reading = asyncio.create_task(read())
    try:
        async with aclosing(in_order()) as found:
            yield found
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
