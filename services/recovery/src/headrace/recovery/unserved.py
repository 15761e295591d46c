"""Jobs that wait although nobody could run them: no live worker of their pool has their type (B13)."""

from __future__ import annotations

from collections import defaultdict

import structlog

from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts
from headrace.recovery.pools import Pools

HEAD = 1000
"""Waiting jobs of a pool that are looked at, in claim order: what nobody takes gathers there."""

log = structlog.get_logger(__name__)


class UnservedDuty:
    """Warns about types of waiting jobs that no live worker of their pool has. Changes nothing."""

    name = "unserved"
    seconds = 10.0

    def __init__(self, parts: Parts, pools: Pools) -> None:
        self._parts = parts
        self._pools = pools
        self.by_pool: dict[str, dict[str, int]] = {}
        """Pool → type → how many wait, of those looked at; every pool that was looked at has an entry."""

    async def run_once(self) -> Counts:
        """Look at every pool once."""
        served: defaultdict[str, set[str]] = defaultdict(set)
        for incarnation in await self._parts.incarnations.alive():
            served[incarnation.pool].update(incarnation.types)

        async def look(pool: str) -> Counts:
            waiting = await self._parts.reconcile.head_types(pool, limit=HEAD)
            self._tell(pool, {name: count for name, count in waiting.items() if name not in served[pool]})
            return Counts()

        return await self._pools.each(look)

    def _tell(self, pool: str, unserved: dict[str, int]) -> None:
        before = self.by_pool.get(pool, {})
        self.by_pool[pool] = unserved
        if unserved.keys() - before.keys():
            log.warning(
                "recovery.no_worker_for_type",
                pool=pool,
                waiting=unserved,
                hint="start a worker that has these executors installed",
            )
        elif before and not unserved:
            log.info("recovery.every_type_served", pool=pool)
