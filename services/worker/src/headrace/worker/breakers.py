"""Breakers of what jobs depend on, as one child sees them: a dependency that keeps failing parks its jobs.

Failures in a row are counted in each child; the open breaker is shared through MongoDB, which is read every two
seconds. While MongoDB is away what was read last counts, and nothing new opens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from headrace.contracts.errors import DependencyDown, JobCancelled, JobFailure, LeaseLost, StoreUnavailableError
from headrace.runtime.store.breakers import DependencyBreakers

FAILURES = 5
"""Failures in a row, in one child, that open a breaker."""
REFRESH_SECONDS = 2.0
FIRST_PARK_SECONDS = 10.0
"""How long a job is parked whose breaker this child has just opened, or does not know yet."""
SPREAD_SECONDS = 2.0
MAX_COUNTED = 1000
MAX_NAME = 200
MAX_ERROR = 500

log = structlog.get_logger(__name__)


class Dependencies:
    """What one child knows of its jobs' dependencies. On the event loop."""

    def __init__(self, store: DependencyBreakers) -> None:
        self._store = store
        self._failures: dict[str, int] = {}
        self._open: dict[str, tuple[float, tuple[str, ...]]] = {}
        """Until when by this process's clock, and the types that have met it."""

    async def refresh(self) -> None:
        """Read which are open. A duty.

        Raises:
            StoreUnavailableError: MongoDB did not answer.
        """
        found = await self._store.all()
        now = time.monotonic()
        closed = self._open.keys() - {breaker.name for breaker in found}
        self._open = {breaker.name: (now + breaker.retry_in_seconds, breaker.types) for breaker in found}
        for name in closed:
            self._failures.pop(name, None)
            log.info("dependency.closed", dependency=name)

    def park_seconds(self, name: str, *, jitter: float) -> float:
        """How long a job that needs this dependency stays away.

        Args:
            name: The dependency.
            jitter: From 0 to 1; spreads the jobs that come back.
        """
        known = self._open.get(name)
        left = FIRST_PARK_SECONDS if known is None else max(0.0, known[0] - time.monotonic())
        return left + 0.5 + jitter * SPREAD_SECONDS

    @asynccontextmanager
    async def using(self, name: str, *, job_type: str) -> AsyncIterator[None]:
        """See `JobContext.dependency`."""
        if not 0 < len(name) <= MAX_NAME:
            raise ValueError(f"the name of a dependency has 1 to {MAX_NAME} characters, not {len(name)}")
        is_probe = await self._enter(name, job_type)
        try:
            yield
        except (JobCancelled, LeaseLost):
            raise
        except DependencyDown:
            raise  # whoever parks the job counts it, unless a breaker has
        except JobFailure:
            await self._works(name, is_probe=is_probe)  # it answered, and the job knows what to make of that
            raise
        except Exception as error:
            if await self.failed(name, job_type=job_type, error=error, is_probe=is_probe):
                raise _down(name, str(error)) from error
            raise
        await self._works(name, is_probe=is_probe)

    async def failed(self, name: str, *, job_type: str, error: BaseException, is_probe: bool = False) -> bool:
        """Count a failure. Returns whether the breaker is open now."""
        if len(self._failures) >= MAX_COUNTED and name not in self._failures:
            self._failures.pop(next(iter(self._failures)))
        count = self._failures[name] = self._failures.get(name, 0) + 1
        known = self._open.get(name)
        if not is_probe and (count < FAILURES or (known is not None and time.monotonic() < known[0])):
            return known is not None
        try:
            await self._store.fail(name, job_type=job_type, error=f"{type(error).__name__}: {error}"[:MAX_ERROR])
            await self.refresh()
        except StoreUnavailableError as problem:
            log.warning("dependency.not_opened", dependency=name, detail=str(problem))
            return is_probe or known is not None
        log.warning("dependency.opened", dependency=name, failures=count, error=type(error).__name__)
        return True

    async def _enter(self, name: str, job_type: str) -> bool:
        """Returns whether this job is the probe."""
        known = self._open.get(name)
        if known is None:
            return False
        until, types = known
        try:
            if job_type not in types:
                self._open[name] = (until, (*types, job_type))
                await self._store.meet(name, job_type)
            if time.monotonic() >= until and await self._store.probe(name):
                log.info("dependency.probe", dependency=name)
                return True
        except StoreUnavailableError as error:
            log.warning("dependency.not_probed", dependency=name, detail=str(error))
        raise _down(name, "its breaker is open")

    async def _works(self, name: str, *, is_probe: bool) -> None:
        self._failures.pop(name, None)
        if not is_probe:
            return
        try:
            await asyncio.shield(self._store.close(name))
            self._open.pop(name, None)
            log.info("dependency.closed", dependency=name)
        except StoreUnavailableError as error:
            log.warning("dependency.not_closed", dependency=name, detail=str(error))


def _down(name: str, message: str) -> DependencyDown:
    error = DependencyDown(name, message)
    error.is_counted = True
    return error
