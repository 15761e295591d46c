"""Work that outlives the request it came from: shielded state changes, and what is done best effort afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from headrace.contracts.errors import HeadraceError

T = TypeVar("T")
MAX_AFTERWARDS = 1000
"""Best-effort work waiting at once; what comes beyond is dropped, since a reader of the truth mends it anyway."""

log = structlog.get_logger(__name__)


class Tasks:
    """The tasks of one application; `drain` waits for them."""

    def __init__(self) -> None:
        self._all: set[asyncio.Task[Any]] = set()
        self._afterwards = 0

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` as a task that nobody needs to await."""
        task = asyncio.ensure_future(work)
        self._all.add(task)
        task.add_done_callback(self._ended)
        return task

    async def shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end, also when the caller is cancelled meanwhile."""
        return await asyncio.shield(self.start(work))

    def afterwards(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        """Run `work` best effort: a failure is logged and forgotten. Dropped when too much waits already."""
        if self._afterwards >= MAX_AFTERWARDS:
            work.close()
            log.warning("afterwards.dropped", work=name)
            return
        self._afterwards += 1
        self.start(self._forgiving(name, work))

    async def drain(self) -> None:
        """Wait until everything has ended, also what began meanwhile."""
        while self._all:
            await asyncio.wait(self._all)

    async def _forgiving(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except HeadraceError as error:
            log.warning("afterwards.failed", work=name, error=type(error).__name__)
        finally:
            self._afterwards -= 1

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._all.discard(task)
        if not task.cancelled():
            task.exception()  # the caller may be gone; the middleware logs what reaches a request
