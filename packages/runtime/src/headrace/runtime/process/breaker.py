"""A circuit breaker: after a few failures in a row it stops asking a store that does not answer.

::

    closed ──failures in a row──▶ open ──reset_seconds──▶ half-open ──success──▶ closed
                                   ▲                          │
                                   └────────failure───────────┘
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import structlog

from headrace.contracts.errors import StoreUnavailableError

T = TypeVar("T")
log = structlog.get_logger(__name__)


class BreakerState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class BreakerOpenError(StoreUnavailableError):
    """The breaker is open: nothing was sent."""


@dataclass(frozen=True)
class BreakerSnapshot:
    """What a breaker says about itself."""

    name: str
    state: BreakerState
    failures: int
    """Failures in a row by now."""
    opened: int
    """How often it has opened since the process started."""
    retry_in_seconds: float
    """Until the next probe; 0 when calls go through."""


class Breaker:
    """Guards the calls to one store. Belongs to one event loop; not for threads.

    Only `StoreUnavailableError` and its kind count as failures: every other error means that the store answered.
    A cancelled call says nothing about the store and counts as neither.

    Args:
        name: The store, for logs and metrics.
        failures: Failures in a row that open it.
        reset_seconds: How long it stays open before one call may try again: what a rebuild, or the first submission
            after an outage, waits for at most.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int = 3,
        reset_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._limit = failures
        self._reset_seconds = reset_seconds
        self._clock = clock
        self._failures = 0
        self._opened = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """The state as of now."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._remaining() <= 0 else BreakerState.OPEN

    def snapshot(self) -> BreakerSnapshot:
        """The state with its figures."""
        return BreakerSnapshot(self.name, self.state, self._failures, self._opened, max(0.0, self._remaining()))

    async def call(self, fn: Callable[[], Awaitable[T]]) -> T:
        """Run `fn` unless the breaker is open.

        While half-open, one call is the probe; the others are refused until it has ended.

        Raises:
            BreakerOpenError: At once, without running `fn`.
        """
        if self._opened_at is None:
            return await self._run(fn, probe=False)
        if self._remaining() > 0 or self._probing:
            raise BreakerOpenError(f"{self.name} does not answer", retry_after_seconds=max(1.0, self._remaining()))
        self._probing = True
        try:
            return await self._run(fn, probe=True)
        finally:
            self._probing = False

    async def _run(self, fn: Callable[[], Awaitable[T]], *, probe: bool) -> T:
        try:
            value = await fn()
        except StoreUnavailableError as error:
            self._failed(error, probe=probe)
            raise
        except Exception:
            self._answered(probe=probe)
            raise
        self._answered(probe=probe)
        return value

    def _failed(self, error: StoreUnavailableError, *, probe: bool) -> None:
        if self._opened_at is not None and not probe:
            return  # began before it opened; it says nothing new
        self._failures += 1
        if not probe and self._failures < self._limit:
            return
        self._opened_at = self._clock()
        self._opened += 1
        if not probe:
            log.warning("breaker.opened", breaker=self.name, failures=self._failures, error=type(error).__name__)

    def _answered(self, *, probe: bool) -> None:
        if self._opened_at is not None and not probe:
            return  # an answer from before the outage must not end it
        if self._opened_at is not None:
            log.info("breaker.closed", breaker=self.name, failures=self._failures)
        self._opened_at = None
        self._failures = 0

    def _remaining(self) -> float:
        if self._opened_at is None:
            return 0.0
        return self._opened_at + self._reset_seconds - self._clock()
