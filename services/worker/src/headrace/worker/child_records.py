"""What MongoDB is told about a child: before its start that it may claim, after its end how it ended."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.heartbeat import ExitRecord
from headrace.runtime.process.failpoints import afp
from headrace.runtime.store.incarnations import Incarnations
from headrace.worker.child_process import ChildProcess, Ending
from headrace.worker.pools import ChildPlan

STORE_PAUSE_SECONDS = 0.5

log = structlog.get_logger(__name__)


class ChildRecords:
    """Registers children and writes them off; both are repeated until MongoDB has them.

    Args:
        incarnations: Where that is kept.
        service: The name of this worker service, unique per process start.
        version: Of the worker.
        versions: The newest payload version it knows of each type.
        lease_seconds: How long a child counts as alive without renewal.
        ending: Set when the service ends; nothing is repeated then.
    """

    def __init__(
        self,
        incarnations: Incarnations,
        *,
        service: str,
        version: str,
        lease_seconds: float,
        ending: asyncio.Event,
        versions: Mapping[str, int],
    ) -> None:
        self._versions = versions
        self._incarnations = incarnations
        self._service = service
        self._version = version
        self._lease_seconds = lease_seconds
        self._ending = ending

    async def register(self, incarnation: str, plan: ChildPlan, *, slots: int) -> bool:
        """A child must not claim before a majority knows it. False: the service ends, and it was not written."""
        while True:
            try:
                await afp("worker.before_register")
                await self._incarnations.register(
                    incarnation,
                    service=self._service,
                    host=socket.gethostname(),
                    pool=plan.pool,
                    types=plan.types,
                    slots=slots,
                    version=self._version,
                    lease_seconds=self._lease_seconds,
                    versions={name: self._versions[name] for name in plan.types if name in self._versions},
                )
                await afp("worker.after_register")
            except StoreUnavailableError as error:
                log.warning("child.not_registered", pool=plan.pool, detail=str(error))
                await self._pause(STORE_PAUSE_SECONDS)
                if self._ending.is_set():
                    return False
            else:
                return True

    async def write_off(self, child: ChildProcess, ending: Ending) -> None:
        """Say that the child is dead; recovery acts on it within a second."""
        running = [job.job_id for job in ending.running]
        report = log.info if ending.record.kind == "graceful" else log.warning
        report(
            "child.ended",
            incarnation=child.incarnation,
            pool=child.plan.pool,
            running=running,
            **ending.record.model_dump(exclude_none=True),
        )
        await self._mark_dead(
            child.incarnation, exit_record=ending.record, running=running, culprit=child.culprit, pid=child.pid
        )

    async def write_off_unborn(self, incarnation: str) -> None:
        """Say that a registered child has no process, so that nobody waits for its lease to run out."""
        await self._mark_dead(incarnation, exit_record=ExitRecord(kind="not_started"), running=())

    async def _mark_dead(self, incarnation: str, **facts: Any) -> None:
        pause = STORE_PAUSE_SECONDS
        while True:
            try:
                await afp("worker.before_mark_dead")
                await self._incarnations.mark_dead(incarnation, **facts)
                await afp("worker.after_mark_dead")
            except StoreUnavailableError as error:
                log.warning("child.death_not_written", incarnation=incarnation, detail=str(error))
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
