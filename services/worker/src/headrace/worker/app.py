"""The worker's application: probes, metrics, and the supervisor behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Final

from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.contracts.config import JobConfig
from headrace.runtime.process.lifecycle import on_drain
from headrace.runtime.web.app import load_tokens, make_app
from headrace.runtime.web.metrics import REGISTRY
from headrace.runtime.web.probes import CheckResult
from headrace.runtime.web.watched import Watched, refuse_wrong_setup, watch
from headrace.worker.service import JobWorkerService

DEFAULT_PORT = 8082
SERVICE: Final = web.AppKey("SERVICE", JobWorkerService)


def build_app(config: JobConfig) -> web.Application:
    """Put the service together; connects to nothing."""
    service = JobWorkerService(config)
    redis = Watched(service.redis_breaker, service.queue.check_policy)
    mongo = Watched(service.mongo_breaker, service.database.ping)

    async def children() -> CheckResult:
        return CheckResult(ok=service.unready is None, detail=service.unready or "")

    app = make_app(
        config,
        name="worker",
        routes=[],
        checks={"redis": redis.check, "mongo": mongo.check, "children": children},
        tokens=load_tokens(config),
    )
    app[SERVICE] = service
    app[REGISTRY].register(WorkerCollector(service))
    refuse_wrong_setup(app, redis)
    app.cleanup_ctx.append(_run)
    watch(app, redis, mongo)
    on_drain(app, service.drain)
    return app


async def _run(app: web.Application) -> AsyncIterator[None]:
    service = app[SERVICE]
    try:
        await service.start()
        yield
    finally:
        await service.close()


class WorkerCollector(Collector):
    """Counts of this service alone; states of jobs are the monitor's to tell."""

    def __init__(self, service: JobWorkerService) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Read the children's boards."""
        pools = self._service.pools
        # `job_finished` is the monitor's: of all jobs, told once.
        settled = CounterMetricFamily(
            "job_attempts_settled", "Attempts that this service's children ended.", labels=["outcome"]
        )
        lost = CounterMetricFamily("job_lease_lost", "Attempts of this service's children that no longer counted.")
        slots = GaugeMetricFamily("job_child_slots", "Slots of this service's children.", labels=["state"])
        alive = GaugeMetricFamily("job_children", "Children of this service that run.")
        totals = list(pools.counters) if pools else [0, 0, 0]
        children = pools.children() if pools else []
        busy = 0
        for child in children:
            totals = [total + more for total, more in zip(totals, child.board.counters(), strict=True)]
            busy += len(child.board.running())
        completed, failed, fenced = totals
        settled.add_metric(["completed"], completed)
        settled.add_metric(["failed"], failed)
        lost.add_metric([], fenced)
        slots.add_metric(["busy"], busy)
        slots.add_metric(["total"], sum(child.plan.slots for child in children))
        alive.add_metric([], len(children))
        yield settled
        yield lost
        yield slots
        yield alive
