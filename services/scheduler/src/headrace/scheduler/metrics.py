"""What the scheduler counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class SchedulerMetrics:
    """The scheduler's own metrics. Label values are pools, registered types and problem codes: closed sets."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.enqueued = Counter("job_enqueued", "Jobs accepted.", ("queue", "type"), registry=registry)
        self.refused = Counter("job_refused", "Submissions refused.", ("code",), registry=registry)
        self.submit_seconds = Histogram(
            "job_submit_seconds",
            "Seconds from a submission's body being read to its answer, accepted or not.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self.batch_size = Histogram(
            "job_submit_batch_size",
            "Jobs committed together.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            registry=registry,
        )
        self._over = Gauge(
            "job_queue_overshoot", "Jobs of the pool beyond its bound, as Redis counted them last.", ("queue",),
            registry=registry,
        )  # fmt: skip

    def saw_pending(self, pool: str, pending: int, limit: int) -> None:
        """Take Redis' count of a pool."""
        self._over.labels(pool).set(max(0, pending - limit))
