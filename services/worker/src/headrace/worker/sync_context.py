"""The waiting forms of a job's context, for plain functions: they run on threads, the stores live on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from dramatiq.threading import Interrupt
from pydantic import JsonValue

from headrace.contracts.executor import JobContext

T = TypeVar("T")

INTERRUPT_CHECK_SECONDS = 0.5


class SyncContext:
    """The context of one attempt, on any thread but the event loop's."""

    def __init__(self, context: JobContext, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._loop = loop

    def report_progress(self, fraction: float, message: str = "") -> None:
        """See `JobContext.report_progress`."""
        self.wait(lambda: self._context.report_progress(fraction, message))

    def save_checkpoint(self, value: JsonValue) -> None:
        """See `JobContext.save_checkpoint`."""
        self.wait(lambda: self._context.save_checkpoint(value))

    @contextlib.contextmanager
    def dependency(self, name: str) -> Iterator[None]:
        """See `JobContext.dependency`."""
        manager = self._context.dependency(name)
        self.wait(manager.__aenter__)
        try:
            yield
        except Exception as error:
            self.wait(lambda error=error: manager.__aexit__(type(error), error, error.__traceback__))  # type: ignore[misc]
            raise
        else:
            self.wait(lambda: manager.__aexit__(None, None, None))

    def wait(self, make: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine on the event loop and wait for it in this thread.

        Looks up now and then, because a thread that only waits cannot be told that its job's time is over.
        """

        async def run() -> T:
            return await make()

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    return future.result(timeout=INTERRUPT_CHECK_SECONDS)
                if future.done():
                    return future.result()
        except Interrupt:
            future.cancel()
            raise
