"""What happened to jobs, as counters and histograms for Prometheus. Told by the monitor alone, so counted once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.monitor.sampler import ActivityByType
from headrace.runtime.store.history_reads import Activity
from headrace.runtime.store.history_values import ENDED, add_counts, bucket_seconds

BOUNDS = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86_400)
LABELS = ("queue", "type")


class ActivityMetrics(Collector):
    """Adds up what the sampler hears, since this process started."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], Activity] = {}

    def heard(self, activity: ActivityByType) -> None:
        """Add an interval."""
        for key, found in activity.items():
            total = self._totals.setdefault(key, Activity())
            total.counts = add_counts([total.counts, found.counts])
            total.wait = add_counts([total.wait, found.wait])
            total.run = add_counts([total.run, found.run])

    def collect(self) -> Iterator[Metric]:
        """The families as they stand."""
        finished = CounterMetricFamily("job_finished", "Jobs that ended.", labels=[*LABELS, "outcome"])
        retried = CounterMetricFamily("job_retried", "Attempts that failed and are followed by another.", labels=LABELS)
        handed = CounterMetricFamily("job_handed_back", "Claims given back without a failure.", labels=LABELS)
        wait = HistogramMetricFamily("job_wait_seconds", "From being due to being claimed.", labels=LABELS)
        run = HistogramMetricFamily("job_run_seconds", "From the start of the last attempt to the end.", labels=LABELS)
        for (pool, type_), total in sorted(self._totals.items()):
            for outcome in ENDED:
                finished.add_metric([pool, type_, outcome], total.counts.get(outcome, 0))
            retried.add_metric([pool, type_], total.counts.get("retried", 0))
            handed.add_metric([pool, type_], total.counts.get("handed_back", 0))
            wait.add_metric([pool, type_], *_cumulated(total.wait))
            run.add_metric([pool, type_], *_cumulated(total.run))
        yield from (finished, retried, handed, wait, run)


def _cumulated(buckets: Mapping[int, int]) -> tuple[list[tuple[str, float]], float]:
    """Prometheus' buckets and the sum, both as exact as our buckets are wide."""
    seconds = [(bucket_seconds(bucket), count) for bucket, count in buckets.items()]
    rows = [(str(float(bound)), float(sum(n for value, n in seconds if value <= bound))) for bound in BOUNDS]
    return [*rows, ("+Inf", float(sum(buckets.values())))], sum(value * count for value, count in seconds)
