"""`JobRecoveryService`: every duty in its rhythm, on one of several processes."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.recovery.audit import AuditDuty
from headrace.recovery.counts import Counts, Duty
from headrace.recovery.crawl_data import CrawlDataDuty
from headrace.recovery.dead_claims import DeadClaimsDuty
from headrace.recovery.deaths import DeathDuty
from headrace.recovery.expiry import ExpiryDuty
from headrace.recovery.full import FullPass
from headrace.recovery.ghosts import GhostDuty, Suspects
from headrace.recovery.leadership import Leadership
from headrace.recovery.mend import Mender
from headrace.recovery.metrics import RecoveryMetrics
from headrace.recovery.orphans import OrphanDuty
from headrace.recovery.overdue import CancelDuty, TimeoutDuty
from headrace.recovery.parts import Parts
from headrace.recovery.pools import Pools
from headrace.recovery.prune import PruneDuty
from headrace.recovery.rebuild import RebuildDuty
from headrace.recovery.recent import RecentDuty
from headrace.recovery.reservations import ReservationDuty
from headrace.recovery.retention import RetentionDuty
from headrace.recovery.rollup import RollupDuty
from headrace.recovery.starvation import StarvationDuty
from headrace.recovery.stored import StoredDuty
from headrace.recovery.sweep import SweepDuty
from headrace.recovery.unserved import UnservedDuty
from headrace.runtime.process.every import every

JITTER = 0.05
LOOK_SECONDS = 1.0
PREPARE_SECONDS = 30.0
"""How long the first leadership waits for indexes that are being built."""

log = structlog.get_logger(__name__)


class JobRecoveryService:
    """Brings MongoDB and Redis back together after any fault; re-enqueues, never executes.

    Only the leader acts; a standby does nothing but ask for the lease. Each duty has a loop of its own, so one that
    fails or takes long does not hold up the others.

    Args:
        parts: The open stores; closed by `stop`.
        metrics: Where the duties' results are counted.
    """

    def __init__(self, parts: Parts, metrics: RecoveryMetrics) -> None:
        self._parts = parts
        self._metrics = metrics
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._indexes: asyncio.Task[None] | None = None
        self._has_waited = False
        self._due: dict[str, float] = defaultdict(float)
        self.leadership = Leadership(parts, on_new=self._begin_anew)
        suspects = Suspects()
        mender = Mender(parts, suspects)
        pools = Pools(parts)
        self._deaths = DeathDuty(parts)
        self._recent = RecentDuty(parts, mender)
        self.full_pass = FullPass(parts, pools, mender, go_on=self._may_go_on)
        self._rebuild = RebuildDuty(parts, pools, go_on=self._may_go_on)
        self._unserved = UnservedDuty(parts, pools)
        self._retention = RetentionDuty(parts)
        self.duties: tuple[Duty, ...] = (
            self._deaths,
            OrphanDuty(parts),
            self._rebuild,
            DeadClaimsDuty(parts, pools),
            SweepDuty(parts, pools, suspects),
            StoredDuty(parts, pools),
            ReservationDuty(parts, pools),
            ExpiryDuty(parts),
            TimeoutDuty(parts),
            CancelDuty(parts),
            StarvationDuty(parts, pools),
            self._recent,
            GhostDuty(parts, suspects),
            self.full_pass,
            PruneDuty(parts),
            AuditDuty(parts),
            self._retention,
            CrawlDataDuty(parts),
            RollupDuty(parts),
            self._unserved,
        )

    async def start(self) -> None:
        """Begin. Needs no store to be there."""
        self._loop(self._lead, self.leadership.seconds, self.leadership.name)
        for duty in self.duties:
            self._loop(self._led(duty), min(duty.seconds, LOOK_SECONDS), duty.name)

    async def stop(self) -> None:
        """End every loop after the pass it is in, give the leadership back, close the stores. Safe to call again."""
        self._stop.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._indexes is not None and not self._indexes.done():
            self._indexes.cancel()
            await asyncio.gather(self._indexes, return_exceptions=True)
        await self.leadership.end()
        await self._parts.close()

    def _loop(self, run_once: Callable[[], Awaitable[object]], seconds: float, name: str) -> None:
        self._tasks.append(
            asyncio.create_task(every(seconds, run_once, name=name, stop=self._stop, jitter=JITTER), name=name)
        )

    async def _lead(self) -> None:
        try:
            await self._prepare()
            await self.leadership.run_once()
        finally:
            self._metrics.leads(self.leadership.is_leading())

    async def _prepare(self) -> None:
        # Without the indexes every duty would read whole collections each second. On a large collection they take
        # minutes, and an index that takes long or cannot be made must not leave every orphan lying.
        if self._indexes is None:
            self._indexes = asyncio.create_task(self._make_indexes())
        if not self._has_waited:
            await asyncio.wait({self._indexes}, timeout=PREPARE_SECONDS)
            self._has_waited = not self._indexes.done()
        if not self._indexes.done():
            return
        try:
            self._indexes.result()
        except StoreUnavailableError:
            self._indexes = None  # to be tried again
            raise

    async def _make_indexes(self) -> None:
        try:
            await self._parts.database.ensure_indexes()
        except StoreUnavailableError:
            raise
        except Exception:
            log.exception("recovery.indexes_not_made")

    def _led(self, duty: Duty) -> Callable[[], Awaitable[object]]:
        async def run_once() -> None:
            # Asked each second, also about slow duties: a new leader must not wait for an hour before it prunes.
            if not self.leadership.is_leading() or time.monotonic() < self._due[duty.name]:
                return
            began = time.monotonic()
            try:
                counts = await duty.run_once()
            except Exception:
                self._metrics.failed(duty.name)
                raise
            self._due[duty.name] = began + duty.seconds - min(duty.seconds, LOOK_SECONDS) / 2
            self._note(duty, counts)

        return run_once

    def _note(self, duty: Duty, counts: Counts) -> None:
        self._metrics.did(duty.name, counts)
        if duty is self.full_pass:
            self._metrics.drifted(self.full_pass.drift_by_kind)
        elif duty is self._unserved:
            self._metrics.unserved(self._unserved.by_pool)
        elif duty is self._retention:
            self._metrics.stores(self._retention.stored_bytes, limit=self._retention.limit_bytes)
        elif duty is self._rebuild and counts["pool_rebuilt"]:
            self._due[self.full_pass.name] = 0.0  # what an old copy of Redis brought back is in the way until then

    def _may_go_on(self) -> bool:
        return not self._stop.is_set() and self.leadership.is_leading()

    def _begin_anew(self) -> None:
        self._deaths.begin_anew()
        self._recent.begin_anew()
