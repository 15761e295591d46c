"""The jobs of a child that have begun and not ended, and what is done beside them: their progress, their limits."""

from __future__ import annotations

import asyncio
import time

from headrace.worker.announce import ChildAnnouncer
from headrace.worker.board import Board
from headrace.worker.context import RunningContext
from headrace.worker.held import Held, Stop
from headrace.worker.interrupt import AskedToStop, SoftLimit, interrupt_thread
from headrace.worker.thread_clocks import ThreadClocks

COOPERATE_SECONDS = 1.0
"""How long a plain function that was asked to stop may take before an exception is raised in its thread."""
RELEASE_SECONDS = 0.4
"""The same at shutdown, when it has had its grace and its process ends in a second."""


class RunningJobs:
    """The running jobs of one child. `begin` and `end` from any thread, the duties on the event loop."""

    def __init__(self, *, board: Board, announcer: ChildAnnouncer | None = None) -> None:
        self._board = board
        self._announcer = announcer
        self._contexts: dict[Held, tuple[RunningContext, int | None]] = {}
        self._clocks = ThreadClocks()

    def begin(self, held: Held, context: RunningContext, *, thread_id: int | None = None) -> None:
        """A job runs now, on this thread if it is a plain function."""
        self._contexts[held] = (context, thread_id)
        if self._announcer is not None:
            self._announcer.started(held)

    def end(self, held: Held) -> None:
        """It runs no more, if it ever did."""
        self._contexts.pop(held, None)

    async def flush_progress(self) -> None:
        """Save the progress of every running job that changed. A duty, about once a second."""
        running = [(held, context) for held, (context, _) in list(self._contexts.items())]
        if running:
            await asyncio.gather(*(self._flush(held, context) for held, context in running))

    async def _flush(self, held: Held, context: RunningContext) -> None:
        saved = await context.flush_progress()
        if saved is not None:
            self._board.progress(held.job.id, saved[0])
        if saved is not None and self._announcer is not None:
            self._announcer.progressed(held, saved)

    async def enforce_limits(self) -> None:
        """Raise in the threads of plain jobs that ran too long or did not stop when asked. A duty.

        Threads that stand in a call are left alone until it returns; the supervisor has the hard limit for them.
        """
        now = time.monotonic()
        plain = [(held, thread_id) for held, (_, thread_id) in list(self._contexts.items()) if thread_id is not None]
        moving = self._clocks.moving(thread_id for _, thread_id in plain)
        for held, thread_id in plain:
            if held.started_at is None or thread_id not in moving:
                continue
            if held.stop is not None:
                if held.stopped_for(now) > (RELEASE_SECONDS if held.stop is Stop.RELEASE else COOPERATE_SECONDS):
                    interrupt_thread(held, thread_id, AskedToStop)
            elif now - held.started_at > held.job.timeout_seconds:
                interrupt_thread(held, thread_id, SoftLimit)
