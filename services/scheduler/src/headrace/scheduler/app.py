"""The scheduler's application: the one place where its parts are put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import structlog
from aiohttp import web

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.process.every import every
from headrace.runtime.web.app import load_tokens, make_app
from headrace.runtime.web.metrics import REGISTRY, BreakerCollector
from headrace.scheduler import checks
from headrace.scheduler.event_wiring import install_events
from headrace.scheduler.links import bounded
from headrace.scheduler.operators import OPERATORS, follow_settings, make_operators
from headrace.scheduler.rate_limits import set_rate_headers
from headrace.scheduler.rates import SAMPLE_SECONDS
from headrace.scheduler.registry import REFRESH_SECONDS
from headrace.scheduler.routes import ROUTES
from headrace.scheduler.services import SERVICES, Services, make_services, make_stores

START_SECONDS = 1.0

log = structlog.get_logger(__name__)


def build_app(config: JobConfig) -> web.Application:
    """The application. Connects to nothing: it starts while both stores are down.

    Raises:
        ConfigError: The tokens file or an address is wrong.
    """
    tokens = load_tokens(config)
    stores = make_stores(config)
    app = make_app(
        config,
        name="scheduler",
        routes=ROUTES,
        checks={"redis": partial(checks.check_redis, stores), "mongo": partial(checks.check_mongo, stores)},
        tokens=tokens,
    )
    app[REGISTRY].register(BreakerCollector([stores.redis.breaker, stores.mongo.breaker]))
    app[SERVICES] = make_services(config, stores, app[REGISTRY], tokens)
    app.on_response_prepare.append(set_rate_headers)
    app.cleanup_ctx.append(_open_stores)
    app.cleanup_ctx.append(_run_duties)
    app[OPERATORS] = make_operators(app[SERVICES])
    app.cleanup_ctx.append(follow_settings)
    install_events(app)
    return app


async def _open_stores(app: web.Application) -> AsyncIterator[None]:
    services = app[SERVICES]
    try:
        await _refuse_evicting_redis(services)
        yield
        await services.tasks.drain()
    finally:
        await services.stores.queue.close()
        services.stores.database.close()


async def _refuse_evicting_redis(services: Services) -> None:
    """Raise `ConfigError` for a Redis that throws waiting jobs away; one that does not answer is no reason to stop."""
    try:
        await bounded(services.stores.queue.check_policy, START_SECONDS, "Redis")
    except StoreUnavailableError as error:
        log.warning("scheduler.redis_absent", reason=error.detail)


async def _run_duties(app: web.Application) -> AsyncIterator[None]:
    services = app[SERVICES]
    stop = asyncio.Event()
    registry = asyncio.create_task(
        every(REFRESH_SECONDS, partial(_refresh, services), name="job_types", stop=stop, jitter=0.1)
    )
    redis = asyncio.create_task(every(SAMPLE_SECONDS, partial(_look_at_redis, services), name="redis", stop=stop))
    announcer = asyncio.create_task(services.announcer.run())
    yield
    stop.set()
    services.announcer.close()
    await asyncio.gather(registry, redis, announcer)


async def _look_at_redis(services: Services) -> None:
    """Keeps the breaker's state true without traffic, and says so once when a server that came later evicts."""
    stores = services.stores
    await stores.redis.call(lambda: bounded(stores.queue.check_policy, START_SECONDS, "Redis"))
    await services.rates.run_once()


async def _refresh(services: Services) -> None:
    await services.stores.mongo.awake()
    await services.registry.refresh()
