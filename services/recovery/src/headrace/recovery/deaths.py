"""Declare incarnations dead whose leases lapsed. What their supervisors said themselves needs no declaration."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from headrace.recovery.counts import Counts
from headrace.recovery.lease_watch import LeaseWatch
from headrace.recovery.parts import Parts
from headrace.runtime.process.failpoints import afp

MAX_GAP_SECONDS = 10.0

log = structlog.get_logger(__name__)


class DeathDuty:
    """Watches the leases of all incarnations and marks the lapsed ones dead; their jobs are the orphan duty's.

    Judges nobody before it has watched for a whole lease itself, so `JOB_LEASE_SECONDS` is also how long a host's loss
    stays unnoticed after a new leader took over.
    """

    name = "deaths"
    seconds = 1.0

    def __init__(self, parts: Parts, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._incarnations = parts.incarnations
        self._clock = clock
        lease_seconds = parts.config.lease_seconds
        self._watch = LeaseWatch(lease_seconds=lease_seconds, gap_seconds=max(MAX_GAP_SECONDS, lease_seconds / 3))

    def begin_anew(self) -> None:
        """Forget what was seen: the leadership is new."""
        self._watch.reset()

    async def run_once(self) -> Counts:
        """Look at every lease once, and declare the lapsed ones.

        Raises:
            StoreUnavailableError: MongoDB does not answer; the watch begins anew.
        """
        counts = Counts()
        try:
            asked = self._clock()
            leases = {child.id: child.lease_until for child in await self._incarnations.alive()}
            lapsed = self._watch.look(leases, asked=asked, answered=self._clock())
            for incarnation_id, lease_until in lapsed.items():
                await afp("before_declare_lost")
                # The update asks the server's clock too; until it agrees the lease is looked at again.
                if await self._incarnations.declare_lost(incarnation_id, lease_until=lease_until):
                    await afp("after_declare_lost")
                    counts["worker_lost"] += 1
                    log.warning("recovery.worker_lost", incarnation=incarnation_id, lease_until=lease_until.isoformat())
        except BaseException:
            self._watch.reset()
            raise
        return counts
