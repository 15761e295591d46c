"""The two ends of a child: told to drain, it hands back and finishes in order; declared dead, it stops at once."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Sequence

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.heartbeat import ExitRecord
from headrace.runtime.store.incarnations import Incarnations
from headrace.worker.child_parts import ChildParts
from headrace.worker.held import Stop

STOP_SECONDS = 1.0
"""How long jobs that were told to stop at shutdown may take before the process ends around them."""
FLUSH_SECONDS = 2.0
LOOPS_SECONDS = 0.5
LOST_CODE = 3
"""Exit code of a child that was declared dead."""

log = structlog.get_logger(__name__)


class ChildEnd:
    """Ends one child. On its event loop."""

    def __init__(self, parts: ChildParts) -> None:
        self._parts = parts
        self._begun = False

    async def follow_life(self) -> None:
        """End this process if it was declared dead. A duty.

        Its jobs are somebody else's then. Whatever it writes is refused; what it does besides must end too.

        Raises:
            StoreUnavailableError: Whether it was is not known.
        """
        parts = self._parts
        found = await Incarnations(parts.database).get(parts.spec.incarnation)
        if self._begun or found is None or found.dead_at is None:
            return
        log.error("child.declared_dead", jobs=len(parts.held), exit=found.exit.kind if found.exit else None)
        self._begun = True
        parts.claims.stop()
        waiting = {held.job.id for held in parts.feed.withdraw()}
        for held in parts.held.all():
            held.ask_to_stop(Stop.LOST)
            if held.job.id in waiting:
                parts.settler.submit_stopped(held)
        await self._until_idle(STOP_SECONDS)
        parts.board.count(fenced=len(parts.held))
        sys.stderr.flush()
        os._exit(LOST_CODE)

    async def drain(self, *, claiming: Awaitable[None], settling: Awaitable[None], logging: Awaitable[None]) -> None:
        """Claim no more, hand back what has not started, finish or hand back the rest, say goodbye.

        Args:
            claiming: The claim loop that runs.
            settling: The settler.
            logging: The writer of what jobs said.
        """
        parts = self._parts
        self._begun = True
        parts.claims.stop()
        await claiming
        for held in parts.feed.withdraw():
            parts.settler.submit(held)
        await self._until_idle(parts.spec.grace_seconds)
        for held in parts.held.all():
            held.ask_to_stop(Stop.RELEASE)
        await self._until_idle(STOP_SECONDS)
        parts.settler.stop()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await settling
                parts.logs.stop()
                await logging
                await parts.logs.flush()
                # What still runs cannot be stopped; hand it back in MongoDB, its own settlement will be fenced.
                await self._audit_finally()
                await Incarnations(parts.database).mark_dead(
                    parts.spec.incarnation, exit_record=ExitRecord(kind="graceful", code=0), running=()
                )
        except (TimeoutError, StoreUnavailableError) as error:
            log.warning("child.drain_incomplete", error=type(error).__name__)

    async def close(self, tasks: Sequence[asyncio.Task[None]], *, sending: Awaitable[None]) -> None:
        """Send what is left to tell, end the loops, close the connections.

        Args:
            tasks: The loops that are still there.
            sending: The sender of events.
        """
        parts = self._parts
        parts.sender.close()
        await sending
        for task in tasks:
            task.cancel()
        # Bounded: the Redis client may swallow a cancellation, and then a loop goes on until its connection is closed.
        await asyncio.wait(tasks, timeout=LOOPS_SECONDS)
        await parts.redis.aclose()
        await parts.listening.aclose()
        parts.database.close()
        log.info("child.drained", left=len(parts.held))

    async def _audit_finally(self) -> None:
        held = self._parts.held
        stuck = held.all()
        for job in stuck:
            held.drop(job)
        await self._parts.audit.run_once(final=True)
        held.add(stuck)

    async def _until_idle(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._parts.held.idle.wait()
        except TimeoutError:
            pass
