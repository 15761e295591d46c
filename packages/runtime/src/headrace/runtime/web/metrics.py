"""Prometheus metrics, one registry per application."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from importlib import metadata
from typing import Final

import structlog
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from headrace.runtime.process.breaker import Breaker, BreakerState

REGISTRY: Final = web.AppKey("REGISTRY", CollectorRegistry)
"""Where an application registers its metrics. Its own, so that two applications in one process do not clash."""

BeforeScrape = Callable[[], Awaitable[None]]
BEFORE_SCRAPE: Final = web.AppKey("BEFORE_SCRAPE", list[BeforeScrape])
"""Run before each scrape, for gauges that are read from a store; must be bounded."""

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger(__name__)


class RequestMetrics:
    """How many requests were answered, and how long that took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._total = Counter(
            "job_http_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "job_http_request_seconds",
            "Seconds from the headers of a request to the end of its handler.",
            ("route",),
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )

    def observe(self, request: web.Request, status: int, began: float) -> None:
        """Count one answer; `began` is `time.perf_counter()` of its beginning."""
        resource = request.match_info.route.resource
        # Labels are closed sets: a scanner must not make a time series of every path it tries.
        route = resource.canonical if resource is not None else "unmatched"
        method = request.method if request.method in METHODS else "other"
        self._total.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(time.perf_counter() - began)


REQUEST_METRICS: Final = web.AppKey("REQUEST_METRICS", RequestMetrics)


class BreakerCollector(Collector):
    """The state of each breaker as `job_breaker_open{breaker}` (0 closed, 0.5 half-open, 1 open)."""

    _VALUES: Final = {BreakerState.CLOSED: 0.0, BreakerState.HALF_OPEN: 0.5, BreakerState.OPEN: 1.0}

    def __init__(self, breakers: Iterable[Breaker]) -> None:
        self._breakers = tuple(breakers)

    def collect(self) -> Iterator[Metric]:
        """Read the breakers as they are now."""
        state = GaugeMetricFamily("job_breaker_open", "0 closed, 0.5 half-open, 1 open.", labels=["breaker"])
        opened = CounterMetricFamily("job_breaker_opened", "How often it has opened.", labels=["breaker"])
        for breaker in self._breakers:
            snapshot = breaker.snapshot()
            state.add_metric([snapshot.name], self._VALUES[snapshot.state])
            opened.add_metric([snapshot.name], snapshot.opened)
        yield state
        yield opened


def install(app: web.Application, *, service: str) -> None:
    """Give the application its registry with what every process tells about itself."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    info = Gauge(
        "job_build_info", "1, labelled with the service and its version.", ("service", "version"), registry=registry
    )
    info.labels(service, version()).set(1)
    app[REGISTRY] = registry
    app[BEFORE_SCRAPE] = []
    app[REQUEST_METRICS] = RequestMetrics(registry)


def version() -> str:
    """The version of the installed runtime."""
    try:
        return metadata.version("headrace-runtime")
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "0"


async def scrape(request: web.Request) -> web.Response:
    """`GET /metrics`, in the format the scraper asks for. A store that fails costs its gauges, not the scrape."""
    for hook in request.app[BEFORE_SCRAPE]:
        try:
            await hook()
        except Exception as error:  # noqa: BLE001 -- whatever a gauge's source does, the other metrics must come out
            log.warning("metrics.source_failed", error=type(error).__name__)
    encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
    # aiohttp refuses parameters in `content_type`, so the header is set as it is.
    return web.Response(body=encode(request.app[REGISTRY]), headers={hdrs.CONTENT_TYPE: content_type})
