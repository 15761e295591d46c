"""`WorkerPoolManager`: keeps the planned children running and says in MongoDB when one has died.

One child's death never touches another. A replacement is a new incarnation, started after a back-off that grows while
children of that plan die young.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.process.ids import new_incarnation
from headrace.runtime.store.incarnations import Incarnations
from headrace.worker.child_process import ChildProcess, Ending
from headrace.worker.pools import ChildPlan

FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 30.0
YOUNG_SECONDS = 30.0
STORE_PAUSE_SECONDS = 0.5

log = structlog.get_logger(__name__)


class WorkerPoolManager:
    """The children of one worker service.

    Args:
        plans: What to run.
        service: The name of this worker service, unique per process start.
        incarnations: Where children are registered.
        version: Of the worker.
        lease_seconds: How long a child counts as alive without renewal.
        grace_seconds: How long a child may take to finish its jobs when told to end.
    """

    def __init__(
        self,
        plans: Sequence[ChildPlan],
        *,
        service: str,
        incarnations: Incarnations,
        version: str,
        lease_seconds: float,
        grace_seconds: float,
    ) -> None:
        self._plans = list(plans)
        self._service = service
        self._incarnations = incarnations
        self._version = version
        self._lease_seconds = lease_seconds
        self._grace_seconds = grace_seconds
        self._children: dict[str, ChildProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._ending = asyncio.Event()
        self.counters = [0, 0, 0]
        """Attempts settled as completed, failed, fenced by children that have ended."""

    @property
    def slots(self) -> int:
        """Jobs that may run at once."""
        return sum(plan.slots for plan in self._plans)

    def children(self) -> list[ChildProcess]:
        """The running children."""
        return list(self._children.values())

    @property
    def ending(self) -> bool:
        """Whether the children have been told to end."""
        return self._ending.is_set()

    def is_ready(self) -> bool:
        """Whether every planned child claims."""
        children = self.children()
        return len(children) == len(self._plans) and all(child.board.ready for child in children)

    def start(self) -> None:
        """Start keeping the children."""
        self._keepers = [asyncio.create_task(self._keep(plan)) for plan in self._plans]

    async def drain(self) -> None:
        """Tell every child to end and wait until all are gone and written off."""
        self._ending.set()
        for child in self.children():
            child.ask_to_end()
        if self._keepers:
            # Not gather: when the grace is over this wait is cancelled, and the keepers must go on to the last word.
            await asyncio.wait(self._keepers)

    async def end(self, *, within: float) -> None:
        """End what is left: children that drain may finish that within the time, then they are killed."""
        if self._ending.is_set() and self._keepers:
            await asyncio.wait(self._keepers, timeout=within)
        self._ending.set()
        for child in self.children():
            child.kill()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for child in self.children():
            await asyncio.wait({child.ended}, timeout=2)

    async def _keep(self, plan: ChildPlan) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while not self._ending.is_set():
            child = await self._start_child(plan)
            if child is None:
                return
            if self._ending.is_set():
                child.ask_to_end()
            ending = await child.ended
            await self._write_off(child, ending)
            if self._ending.is_set():
                return
            backoff = (
                FIRST_BACKOFF_SECONDS
                if time.monotonic() - child.began > YOUNG_SECONDS
                else min(backoff * 2, MAX_BACKOFF_SECONDS)
            )
            await self._pause(backoff)

    async def _start_child(self, plan: ChildPlan) -> ChildProcess | None:
        incarnation = new_incarnation()
        while True:  # a child must not claim before a majority knows it
            try:
                await self._incarnations.register(
                    incarnation,
                    service=self._service,
                    host=socket.gethostname(),
                    pool=plan.pool,
                    types=plan.types,
                    slots=plan.slots,
                    version=self._version,
                    lease_seconds=self._lease_seconds,
                )
            except StoreUnavailableError as error:
                log.warning("child.not_registered", pool=plan.pool, detail=str(error))
                await self._pause(STORE_PAUSE_SECONDS)
                if self._ending.is_set():
                    return None
            else:
                break
        child = ChildProcess.spawn(incarnation, plan, grace_seconds=self._grace_seconds)
        self._children[incarnation] = child
        log.info("child.started", incarnation=incarnation, pool=plan.pool, pid=child.pid, slots=plan.slots)
        return child

    async def _write_off(self, child: ChildProcess, ending: Ending) -> None:
        """Say that the child is dead; recovery acts on it within a second. Repeated until MongoDB has it."""
        self._children.pop(child.incarnation, None)
        counted = child.board.counters()
        self.counters = [total + more for total, more in zip(self.counters, counted, strict=True)]
        child.board.close()
        running = [job.job_id for job in ending.running]
        report = log.info if ending.record.kind == "graceful" else log.warning
        report(
            "child.ended",
            incarnation=child.incarnation,
            pool=child.plan.pool,
            running=running,
            **ending.record.model_dump(exclude_none=True),
        )
        pause = STORE_PAUSE_SECONDS
        while True:
            try:
                await self._incarnations.mark_dead(
                    child.incarnation,
                    exit_record=ending.record,
                    running=running,
                    culprit=child.culprit,
                    pid=child.pid,
                )
            except StoreUnavailableError as error:
                log.warning("child.death_not_written", incarnation=child.incarnation, detail=str(error))
                if self._ending.is_set():
                    return  # its lease runs out by itself
                await self._pause(pause)
                pause = min(pause * 2, 5.0)
            else:
                return

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            pass
