"""Clients that submit without a pause, as callers behind a load balancer do."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace.client import NotReachableError, Submission
from headrace.contracts.errors import OutcomeUnknownError, StoreUnavailableError
from headrace.testing.eventually import eventually

from .system import System
from .truth import Jobs

LANES = 3


class Load:
    """Submissions under way. Whoever does not answer is passed over for the next scheduler, with the same key."""

    def __init__(self, system: System, jobs: Jobs) -> None:
        self._system, self._jobs = system, jobs
        self._over = asyncio.Event()
        self._numbers = itertools.count()

    async def run(self) -> None:
        """One caller."""
        while not self._over.is_set():
            job, key = self._jobs.sleep(0.1), f"{self._jobs.tag}-{next(self._numbers)}"
            self._jobs.ids.append(await self._accepted(job, key))
            await asyncio.sleep(0.05)

    async def _accepted(self, job: Submission, key: str) -> str:
        for turn in itertools.count():
            node = self._system.services["scheduler"][turn % len(self._system.services["scheduler"])]
            with contextlib.suppress(NotReachableError, KeyError, IndexError, TypeError):  # it is being replaced
                async with self._system.client_of(node, tries=1, timeout_seconds=5) as client:
                    # An answer of 503 is one to ask again, with the same key.
                    with contextlib.suppress(StoreUnavailableError, OutcomeUnknownError):
                        return (await client.submit(**job, idempotency_key=key)).id
            await asyncio.sleep(0.1)
        raise AssertionError("not reached")

    async def more(self, count: int) -> None:
        """Wait until so many more were accepted."""
        wanted = len(self._jobs.ids) + count
        await eventually(lambda: len(self._jobs.ids) >= wanted, within=90, every=0.1, what="the load goes on")

    def end(self) -> None:
        """No more."""
        self._over.set()


@asynccontextmanager
async def under_load(system: System, jobs: Jobs) -> AsyncIterator[Load]:
    """What is done in here is done under load. At the end every caller has its answer."""
    load = Load(system, jobs)
    lanes = [asyncio.create_task(load.run()) for _ in range(LANES)]
    try:
        await load.more(20)
        yield load
        load.end()
        await asyncio.gather(*lanes)
    finally:
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)


def stored(system: System, jobs: Jobs) -> set[str]:
    """The ids of all jobs in MongoDB that this test's callers made."""
    with system.database() as database:
        return {found["_id"] for found in database.jobs.find({"tags.test": jobs.tag}, {"_id": 1})}
