"""How full a pool may get: its bound, and how much of it each priority may fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.contracts.job import Priority
from headrace.scheduler.drafts import Draft


class Bounds:
    """The bounds of all pools.

    Args:
        size_limit: `JOB_QUEUE_SIZE_LIMIT`, for pools without a size of their own.
        shed_shares: `JOB_SHED_SHARES`: a priority is admitted while the pool is less full than this many percent.
    """

    def __init__(self, size_limit: int, shed_shares: Mapping[str, int]) -> None:
        self._size_limit = size_limit
        self._shares = {priority: shed_shares.get(priority.value, 100) for priority in Priority}
        self._sizes: dict[str, int] = {}

    def set_sizes(self, sizes: Mapping[str, int]) -> None:
        """Pools with a size of their own."""
        self._sizes = dict(sizes)

    def size(self, pool: str) -> int:
        """How many jobs that are not over the pool may hold."""
        return self._sizes.get(pool, self._size_limit)

    def limit(self, pool: str, priority: Priority) -> int:
        """Below how many pending jobs one of this priority is admitted."""
        return share_of(self.size(pool), self._shares[priority])

    def limits(self, pool: str, drafts: Sequence[Draft]) -> list[int]:
        """The limit of each draft."""
        by_priority = {priority: self.limit(pool, priority) for priority in Priority}
        return [by_priority[draft.fields.priority] for draft in drafts]


def share_of(size: int, percent: int) -> int:
    """The smallest number of jobs that is at least this part of the size: at 80 % of 10 the ninth is refused."""
    return -(-size * percent // 100)
