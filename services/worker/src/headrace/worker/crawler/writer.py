"""Pages on their way to the store, in small batches."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.retry import RetryPolicy
from headrace.runtime.store.crawl_results import StoredPage

log = structlog.get_logger(__name__)

BATCH_PAGES = 25
BATCH_SECONDS = 0.5
MAX_WAITING = 50
"""Pages that wait to be written; then the crawl waits, so that memory stays small while the store is slow."""
GIVE_UP_SECONDS = 120.0
BACK_OFF = RetryPolicy(base_seconds=0.2, factor=2.0, cap_seconds=5.0)

Save = Callable[[Sequence[StoredPage]], Awaitable[None]]
Saved = Callable[[], Awaitable[None]]


class PageWriter:
    """Takes pages one by one and saves them in order: at most `BATCH_PAGES` at once, none later than `BATCH_SECONDS`.

    Args:
        save: Makes a batch durable; repeated while it raises `StoreUnavailableError`, for `GIVE_UP_SECONDS` at most.
        saved: Called after every durable batch.
    """

    def __init__(self, save: Save, saved: Saved) -> None:
        self._save = save
        self._saved = saved
        self._queue: asyncio.Queue[StoredPage | None] = asyncio.Queue(MAX_WAITING)

    async def put(self, page: StoredPage) -> None:
        """Hand over a page; waits while too many are waiting."""
        await self._queue.put(page)

    async def close(self) -> None:
        """No page comes any more; `run` returns when all are saved."""
        await self._queue.put(None)

    async def run(self) -> None:
        """Save until closed.

        Raises:
            StoreUnavailableError: The store stayed away for `GIVE_UP_SECONDS`.
            LeaseLost: As `save` raises it.
        """
        is_open = True
        while is_open:
            batch, is_open = await self._collect()
            if batch:
                await self._save_patiently(batch)
                await self._saved()

    async def _collect(self) -> tuple[list[StoredPage], bool]:
        first = await self._queue.get()
        if first is None:
            return [], False
        batch = [first]
        try:
            async with asyncio.timeout(BATCH_SECONDS):
                while len(batch) < BATCH_PAGES:
                    page = await self._queue.get()
                    if page is None:
                        return batch, False
                    batch.append(page)
        except TimeoutError:
            pass
        return batch, True

    async def _save_patiently(self, batch: list[StoredPage]) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + GIVE_UP_SECONDS
        failures = 0
        while True:
            try:
                await self._save(batch)
                return
            except StoreUnavailableError:
                failures += 1
                if clock() >= deadline:
                    raise
                if failures == 1:
                    log.warning("crawl.store_unavailable", count=len(batch))
                await asyncio.sleep(BACK_OFF.delay_seconds(failures, 0.5 + random.random() / 2))
