"""Every Redis key and channel, built here and nowhere else. `docs/redis-keys.md` says what each means."""

from __future__ import annotations

import re
from dataclasses import dataclass

_POOL = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,60}")


@dataclass(frozen=True)
class PoolKeys:
    """The keys of one pool. All carry the hash tag `{pool}`, so one script may touch them all on a cluster."""

    prefix: str

    @property
    def ready(self) -> str:
        """Zset id → place: due, nobody has it."""
        return f"{self.prefix}:ready"

    @property
    def delayed(self) -> str:
        """Zset id → due time in ms."""
        return f"{self.prefix}:delayed"

    @property
    def score(self) -> str:
        """Hash id → place among the ready ones, for delayed ids only."""
        return f"{self.prefix}:score"

    @property
    def inflight(self) -> str:
        """Zset id → time of its claim in ms."""
        return f"{self.prefix}:inflight"

    @property
    def holder(self) -> str:
        """Hash id → claim token, for ids in flight."""
        return f"{self.prefix}:holder"

    @property
    def reserved(self) -> str:
        """Zset id → expiry in ms of the place it keeps."""
        return f"{self.prefix}:reserved"

    @property
    def paused(self) -> str:
        """String, the reason: no claims while it exists."""
        return f"{self.prefix}:paused"

    @property
    def epoch(self) -> str:
        """String `run_id:µs`: the pool is complete while the server still has that run_id."""
        return f"{self.prefix}:epoch"

    @property
    def rebuilding(self) -> str:
        """String `run_id:µs`: nothing was lost since this was written."""
        return f"{self.prefix}:rebuilding"

    @property
    def claims(self) -> str:
        """Integer: how many claims took something."""
        return f"{self.prefix}:claims"

    @property
    def drained(self) -> str:
        """Integer: how many ids left for good; its growth is the drain rate."""
        return f"{self.prefix}:drained"

    def claim(self, token: str) -> str:
        """List of ids: what the claim with this token was answered."""
        return f"{self.prefix}:claim:{token}"


@dataclass(frozen=True)
class Keys:
    """The keys and channels under one namespace.

    Raises:
        ValueError: The namespace would break a key or its hash tag.
    """

    namespace: str

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise ValueError(f"namespace must match {_NAMESPACE.pattern}")

    def pool(self, pool: str) -> PoolKeys:
        """The keys of `pool`.

        Raises:
            ValueError: Not the name of a pool.
        """
        return PoolKeys(f"{self.namespace}:{{{_checked(pool)}}}")

    def wake(self, pool: str) -> str:
        """Channel: something in `pool` became ready."""
        return f"{self.namespace}:wake:{_checked(pool)}"

    def rate(self, bucket: str) -> str:
        """String, µs since 1970: when the bucket of a rate limit is full again."""
        return f"{self.namespace}:rate:{bucket}"

    @property
    def control(self) -> str:
        """Channel: JSON messages to workers, such as a cancel."""
        return f"{self.namespace}:control"

    @property
    def events(self) -> str:
        """Channel: the event log has something new."""
        return f"{self.namespace}:events"

    # No pool can be named `_beats` or `_events` (a pool's name starts with a letter or digit), so the tags never meet.
    @property
    def beats(self) -> str:
        """Hash service process → its last heartbeat as JSON."""
        return f"{self.namespace}:{{_beats}}:last"

    @property
    def beats_seen(self) -> str:
        """Zset service process → time of its last heartbeat in ms."""
        return f"{self.namespace}:{{_beats}}:seen"

    @property
    def event_log(self) -> str:
        """Stream: the last events of jobs."""
        return f"{self.namespace}:{{_events}}:log"


def _checked(pool: str) -> str:
    if not _POOL.fullmatch(pool):
        raise ValueError(f"pool must match {_POOL.pattern}")
    return pool
