"""The gauges of the whole. They come from this service alone: told by several they would be counted twice."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge

from headrace.monitor.overview import Overview
from headrace.monitor.views import LIVING, OverviewView

_STATES = ("alive", "late", "lost", "stopped")
_FIXED_PARTS = ("store", "service")


class Gauges:
    """Depths, ages, workers and slots, set from the overview before each scrape."""

    def __init__(self, overview: Overview, registry: CollectorRegistry) -> None:
        self._overview = overview
        self._depth = Gauge(
            "job_queue_depth", "Jobs of a pool by where they are.", ("queue", "state"), registry=registry
        )
        self._oldest = Gauge(
            "job_queue_oldest_age_seconds", "Age of the oldest waiting job.", ("queue",), registry=registry
        )
        self._workers = Gauge("job_workers", "Worker services.", ("state",), registry=registry)
        self._slots = Gauge("job_worker_slots", "Slots of living worker services.", ("state",), registry=registry)
        self._jobs = Gauge("job_jobs", "Jobs by state, counted up to 10,000.", ("state",), registry=registry)
        self._up = Gauge("job_part_up", "1 ok, 0.5 degraded, 0 down or unknown.", ("part",), registry=registry)

    async def refresh(self) -> None:
        """Set every gauge to what is now; what cannot be read has no sample."""
        view = (await self._overview.picture()).view
        for gauge in (self._depth, self._oldest, self._jobs):
            gauge.clear()
        self._set_pools(view)
        self._set_workers(view)
        for state, count in view.jobs.items():
            self._jobs.labels(state).set(count)
        for part in view.parts:
            if part.kind in _FIXED_PARTS:
                self._up.labels(part.name).set({"ok": 1.0, "degraded": 0.5}.get(part.status, 0.0))

    def _set_pools(self, view: OverviewView) -> None:
        for pool in view.pools:
            if pool.waiting is None:
                continue
            states = {f"waiting_{priority}": count for priority, count in pool.waiting.items()}
            states |= {"delayed": pool.delayed or 0, "in_flight": pool.in_flight or 0}
            for state, count in states.items():
                self._depth.labels(pool.name, state).set(count)
            self._oldest.labels(pool.name).set(pool.oldest_waiting_seconds or 0)

    def _set_workers(self, view: OverviewView) -> None:
        for state in _STATES:
            self._workers.labels(state).set(sum(worker.state == state for worker in view.workers))
        living = [worker for worker in view.workers if worker.state in LIVING]
        busy = sum(worker.busy or 0 for worker in living)
        self._slots.labels("busy").set(busy)
        self._slots.labels("free").set(sum(worker.slots for worker in living) - busy)
