"""What recovery tells Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from headrace.recovery.counts import Counts
from headrace.recovery.judge import DriftKind


class RecoveryMetrics:
    """The metrics of one process.

    Args:
        registry: Of the application.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._recovered = Counter(
            "job_recovered", "Jobs, ids and workers that recovery put right.", ("reason",), registry=registry
        )
        self._drift = Gauge(
            "job_drift", "Differences between Redis and MongoDB in the last full pass.", ("kind",), registry=registry
        )
        for kind in DriftKind:
            self._drift.labels(kind.value)
        self._unserved = Gauge(
            "job_types_without_worker",
            "Types of jobs at the head of a queue that no live worker of their pool has.",
            ("queue",),
            registry=registry,
        )
        self._stored = Gauge(
            "job_stored_bytes", "Bytes of all jobs with their results and logs, uncompressed.", registry=registry
        )
        self._limit = Gauge("job_retention_limit_bytes", "JOB_RETENTION_BYTES; 0 is none.", registry=registry)
        self._leader = Gauge("job_recovery_leader", "1 while this process leads.", registry=registry)
        self._failing = Gauge("job_recovery_duty_failing", "1 while a duty fails.", ("duty",), registry=registry)
        self._passed = Gauge(
            "job_recovery_last_full_pass_seconds", "When the last full pass ended, since 1970.", registry=registry
        )

    def did(self, duty: str, counts: Counts) -> None:
        """A pass of a duty ended well."""
        self._failing.labels(duty).set(0)
        for reason, count in counts.items():
            self._recovered.labels(reason).inc(count)

    def failed(self, duty: str) -> None:
        """A pass of a duty failed."""
        self._failing.labels(duty).set(1)

    def leads(self, leading: bool) -> None:
        """Whether this process leads. One that does not knows nothing, and must not go on telling what it knew."""
        self._leader.set(leading)
        if not leading:
            self._failing.clear()
            self._unserved.clear()
            self.stores(0, limit=0)
            for kind in DriftKind:
                self._drift.labels(kind.value).set(0)

    def unserved(self, by_pool: Mapping[str, Mapping[str, int]]) -> None:
        """The waiting types without a worker, by pool."""
        self._unserved.clear()  # of pools that are gone
        for pool, types in by_pool.items():
            self._unserved.labels(pool).set(len(types))

    def stores(self, stored_bytes: int, *, limit: int) -> None:
        """What all jobs weigh together, and what they may."""
        self._stored.set(stored_bytes)
        self._limit.set(limit)

    def drifted(self, by_kind: Mapping[str, int]) -> None:
        """A full pass ended."""
        for kind, count in by_kind.items():
            self._drift.labels(kind).set(count)
        self._passed.set_to_current_time()
