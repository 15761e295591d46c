"""How many processes and slots each pool gets: a pure plan from what is installed and `JOB_MAX_WORKERS`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.runtime.store.job_types import JobType


@dataclass(frozen=True)
class ChildPlan:
    """One child to run."""

    pool: str
    types: tuple[str, ...]
    slots: int


def plan_children(types: Sequence[JobType], *, max_workers: int) -> list[ChildPlan]:
    """Share the slots of the service among the pools that the installed executors declare.

    Every pool gets an equal share and at least one slot, so a service with fewer slots than pools has one per pool. A
    pool's share is cut into processes of at most the smallest `slots_per_process` of its types.

    Args:
        types: The installed job types.
        max_workers: `JOB_MAX_WORKERS`.
    """
    by_pool: dict[str, list[JobType]] = {}
    for item in sorted(types, key=lambda item: item.type):
        by_pool.setdefault(item.pool, []).append(item)
    plans = []
    for index, (pool, members) in enumerate(sorted(by_pool.items())):
        share = max_workers // len(by_pool) + (1 if index < max_workers % len(by_pool) else 0)
        left = max(1, share)
        per_process = min(member.policy.slots_per_process for member in members)
        names = tuple(member.type for member in members)
        while left > 0:
            plans.append(ChildPlan(pool, names, min(left, per_process)))
            left -= per_process
    return plans
