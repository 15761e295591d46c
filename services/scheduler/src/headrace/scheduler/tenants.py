"""How much of a pool a tenant may fill. Counted in MongoDB, for tenants with a share only.

Exact for one scheduler. Several may pass a share together by one batch each (see docs/decisions/0007-tenant-share.md).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from headrace.runtime.store.reads import Reads
from headrace.runtime.web.auth import Token
from headrace.scheduler.bounds import share_of
from headrace.scheduler.drafts import Draft
from headrace.scheduler.links import MongoLink


class TenantShares:
    """Holds tenants to their shares.

    Args:
        shares: Tenant → percent of a pool's bound.
        reads: Counts.
        mongo: How to reach it.
    """

    def __init__(self, shares: Mapping[str, int], reads: Reads, mongo: MongoLink) -> None:
        self._shares = dict(shares)
        self._reads = reads
        self._mongo = mongo
        self._turns: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def turn(self, pool: str, drafts: Sequence[Draft], size: int) -> AsyncIterator[frozenset[int]]:
        """The positions of drafts beyond their tenants' shares; until the end nobody else counts for these tenants.

        Raises:
            StoreUnavailableError: MongoDB does not answer.
        """
        by_tenant: defaultdict[str, list[int]] = defaultdict(list)
        if self._shares:
            for position, draft in enumerate(drafts):
                if draft.tenant in self._shares:
                    by_tenant[draft.tenant].append(position)
        beyond: set[int] = set()
        async with AsyncExitStack() as turns:
            for tenant in sorted(by_tenant):  # always in this order, so that no two batches wait for each other
                await turns.enter_async_context(self._turns[pool, tenant])
            for tenant, positions in by_tenant.items():
                beyond.update(positions[await self._room(pool, tenant, size) :])
            yield frozenset(beyond)

    async def _room(self, pool: str, tenant: str, size: int) -> int:
        limit = share_of(size, self._shares[tenant])
        pending = await self._mongo.read(
            lambda: self._reads.count_pending_of_tenant(tenant, pool, cap=limit), seconds=2.0
        )
        return max(0, limit - pending)


def shares_of(tokens: Iterable[Token]) -> dict[str, int]:
    """The shares that the tokens give their tenants, those below the whole."""
    return {token.tenant: token.share for token in tokens if token.tenant is not None and token.share < 100}
