"""Records of a history about Redis: what it did, step by step, and what it held at quiet."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class QueueEvent:
    """One step of a pool's index, in the order in which Redis did them (as MONITOR shows it)."""

    order: int
    at: float
    pool: str
    kind: str
    """`ready` (put among the ready, or moved there), `claimed` (ready, then in flight), `left` (out of ready by no
    claim), `complete` (a rebuild declared finished), `lost` (flush, restart: nothing is known of before)."""
    job_id: str = ""
    place: float | None = None
    """Its score among the ready, lowest first."""
    call: str = ""
    """For `claimed`: the claim's token; ids of one call are one claim."""


@dataclass(frozen=True)
class PoolIndex:
    """What Redis held of a pool at quiet: id and score, as stored (an id may be there twice)."""

    pool: str
    at: float
    complete: bool = True
    ready: tuple[tuple[str, float], ...] = ()
    delayed: tuple[tuple[str, float], ...] = ()
    inflight: tuple[tuple[str, float], ...] = ()
    reserved: tuple[tuple[str, float], ...] = ()
    holders: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RedisKey:
    """A key of Redis at quiet."""

    name: str
    type: str
    size: int = 0
    ttl_ms: int | None = None


@dataclass(frozen=True)
class SlowCommand:
    """A line of Redis' SLOWLOG."""

    at: float
    microseconds: int
    command: str
