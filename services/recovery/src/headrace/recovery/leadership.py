"""Who leads among several recoveries. It saves work and nothing else: two leaders at once change nothing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.recovery.parts import NAME, Parts
from headrace.runtime.process.failpoints import afp
from headrace.runtime.store.leases import LeaderLease

LEASE_SECONDS = 4.0
"""How long after a leader's loss nobody acts. Renewed four times as often."""

log = structlog.get_logger(__name__)


class Leadership:
    """Takes and renews the leader lease.

    Args:
        parts: The open stores.
        on_new: Called whenever this process begins to lead.
        clock: Monotonic seconds.
    """

    name = "leadership"
    seconds = LEASE_SECONDS / 4

    def __init__(
        self, parts: Parts, *, on_new: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        holder = f"{NAME}-{secrets.token_hex(8)}"
        self._lease = LeaderLease(parts.database, name=NAME, holder=holder, seconds=LEASE_SECONDS)
        self._mongo = parts.mongo_breaker
        self._on_new = on_new
        self._clock = clock
        self._until = float("-inf")
        self._epoch: int | None = None

    def is_leading(self) -> bool:
        """Whether the lease was ours a moment ago and cannot have ended since, by our own clock."""
        return self._clock() < self._until

    async def run_once(self) -> None:
        """Take or renew the lease once.

        Raises:
            StoreUnavailableError: MongoDB does not answer; the leadership ends with the lease.
        """
        asked, was_leading = self._clock(), self.is_leading()
        # Behind the breaker: while MongoDB is away the lease ends by itself, and with it every duty.
        await afp("before_leader_lock")
        epoch = await self._mongo.call(self._lease.acquire)
        if epoch is None:
            if was_leading:
                log.warning("recovery.leadership_lost", epoch=self._epoch)
            self._until, self._epoch = float("-inf"), None
            return
        await afp("holding_leader_lock")
        if epoch != self._epoch or not was_leading:
            log.info("recovery.leading", epoch=epoch)
            self._on_new()
        self._until, self._epoch = asked + LEASE_SECONDS, epoch

    async def end(self) -> None:
        """Stop leading, and let a standby take over now rather than at the lease's end."""
        was_leading, self._until = self.is_leading(), float("-inf")
        if was_leading:
            try:
                await self._lease.release()
            except StoreUnavailableError:
                return  # it ends by itself
