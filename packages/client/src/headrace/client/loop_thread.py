"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from concurrent.futures import wait
from typing import Any, Final, TypeVar

Result = TypeVar("Result")
_END: Final = object()
_LOOK_SECONDS = 0.5


class LoopThread:
    """Runs coroutines for threads that wait for them. Safe to use from many threads; not across a fork."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="headrace-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The coroutine's result. A KeyboardInterrupt here cancels it there."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            # Not for ever at once: a signal that comes just before a thread falls asleep does not wake it.
            while not wait([future], timeout=_LOOK_SECONDS).done:
                pass
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncGenerator[Result, None]) -> Generator[Result, None, None]:
        """The items of an async generator, one by one; leaving the loop closes it."""

        async def step() -> Any:
            return await anext(items, _END)

        try:
            while (item := self.run(step())) is not _END:
                yield item
        finally:
            self.run(items.aclose())

    def close(self) -> None:
        """End what still runs, and the thread."""
        self.run(self._cancel_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @staticmethod
    async def _cancel_rest() -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_default_executor()
