"""The pools that the installed executors declare, and how large each may be here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from headrace.contracts.errors import ConfigError
from headrace.runtime.store.job_types import JobType
from headrace.runtime.store.pools import PoolSettings
from headrace.worker.pools_file import NAME, Autoscale, PoolsFile, PoolSize

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ChildPlan:
    """One child to run. `slots` is how many jobs it can run at once; its supervisor may allow it fewer."""

    pool: str
    types: tuple[str, ...]
    slots: int
    max_jobs: int | None = None
    cpu_seconds: int | None = None


@dataclass(frozen=True)
class PoolSpec:
    """A pool of this service: its types, its two sizes, and what its processes may use."""

    name: str
    types: tuple[str, ...]
    min_slots: int
    max_slots: int
    slots_per_process: int
    autoscale: Autoscale = field(default_factory=Autoscale)
    memory_limit_mb: int | None = None
    memory_recycle_mb: int | None = None
    max_jobs: int | None = None
    cpu_seconds: int | None = None

    def plan(self) -> ChildPlan:
        """One child of it."""
        return ChildPlan(self.name, self.types, self.slots_per_process, self.max_jobs, self.cpu_seconds)

    def resized(self, settings: PoolSettings | None, *, max_workers: int) -> PoolSpec:
        """With the sizes that operators set at run time; where those cross what the file says, they win."""
        if settings is None or (settings.min_slots is None and settings.max_slots is None):
            return self
        low, high = settings.min_slots, settings.max_slots
        if low is None:
            low = self.min_slots if high is None else min(self.min_slots, high)
        if high is None:
            high = max(self.max_slots, low)
        high = min(high, max_workers)
        return replace(self, min_slots=min(low, high), max_slots=high)


def size_pools(types: Sequence[JobType], file: PoolsFile, *, max_workers: int) -> dict[str, PoolSpec]:
    """Every pool that an installed type declares, by name.

    What the file does not say: a pool may have all slots of the service; it keeps one while idle, or none when there
    are not enough for all; a process has the smallest `slots_per_process` of the pool's types.

    Args:
        types: The installed job types.
        file: The sizes set for this service.
        max_workers: `JOB_MAX_WORKERS`.

    Raises:
        ConfigError: The smallest sizes of the installed pools are more than the service has.
    """
    by_pool: dict[str, list[JobType]] = {}
    for item in sorted(types, key=lambda item: item.type):
        by_pool.setdefault(item.pool, []).append(item)
    _tell_unknown(file.pools, by_pool)
    said = {pool: file.pools[pool].min_slots for pool in by_pool if pool in file.pools}
    silent = len(by_pool) - sum(low is not None for low in said.values())
    idle = 1 if silent + sum(low or 0 for low in said.values()) <= max_workers else 0
    specs = {
        pool: _spec(pool, members, file.pools.get(pool, PoolSize()), idle=idle, max_workers=max_workers)
        for pool, members in sorted(by_pool.items())
    }
    least = sum(spec.min_slots for spec in specs.values())
    if least > max_workers:
        asked = ", ".join(f"[pools.{spec.name}] {spec.min_slots}" for spec in specs.values() if spec.min_slots)
        raise ConfigError(f"{NAME}: min_slots add up to {least} ({asked}), and JOB_MAX_WORKERS is {max_workers}")
    return specs


def _spec(pool: str, members: Sequence[JobType], size: PoolSize, *, idle: int, max_workers: int) -> PoolSpec:
    per_process = size.slots_per_process or min(member.policy.slots_per_process for member in members)
    high = min(max_workers if size.max_slots is None else size.max_slots, max_workers)
    low = min(idle, high) if size.min_slots is None else size.min_slots
    return PoolSpec(
        name=pool,
        types=tuple(member.type for member in members),
        min_slots=low,
        max_slots=max(low, high),
        slots_per_process=min(per_process, max_workers),
        autoscale=size.autoscale,
        memory_limit_mb=size.memory_limit_mb,
        memory_recycle_mb=size.memory_recycle_mb,
        max_jobs=size.max_jobs_per_process,
        cpu_seconds=size.cpu_seconds,
    )


def _tell_unknown(sized: Mapping[str, PoolSize], installed: Mapping[str, object]) -> None:
    unknown = sorted(sized.keys() - installed.keys())
    if unknown:
        log.warning("pools.not_installed", pools=unknown, installed=sorted(installed))
