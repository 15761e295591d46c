"""Where the monitor is put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from headrace.contracts.config import JobConfig
from headrace.monitor.ask import Answer
from headrace.monitor.gauges import Gauges
from headrace.monitor.overview import Overview
from headrace.monitor.page import overview_routes
from headrace.monitor.scheduler_source import SchedulerSource
from headrace.monitor.sources import MongoSource, RedisSource
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.web.app import load_tokens, make_app
from headrace.runtime.web.metrics import BEFORE_SCRAPE, REGISTRY, BreakerCollector
from headrace.runtime.web.probes import Check, CheckResult


async def build_app(config: JobConfig) -> web.Application:
    """The monitor's application. Opens no connection before it is asked for something.

    Raises:
        ConfigError: A store's URL or the tokens file is wrong.
    """
    tokens = load_tokens(config)
    mongo, redis, scheduler = MongoSource(config), RedisSource(config), SchedulerSource(config)
    overview = Overview(config, mongo=mongo, redis=redis, scheduler=scheduler)
    checks = {"mongodb": _check(mongo.ping, mongo.breaker), "redis": _check(redis.ping, redis.breaker)}
    app = make_app(
        config,
        name="monitor",
        routes=overview_routes(overview),
        checks=checks,
        # Showing what is down is what the monitor is for: it must not be taken away just then.
        optional=checks,
        tokens=tokens,
    )
    registry = app[REGISTRY]
    registry.register(BreakerCollector([mongo.breaker, redis.breaker, scheduler.breaker]))
    app[BEFORE_SCRAPE].append(Gauges(overview, registry).refresh)

    async def connections(_app: web.Application) -> AsyncIterator[None]:
        yield
        await scheduler.close()
        await redis.close()
        mongo.close()

    app.cleanup_ctx.append(connections)
    return app


def _check(ping: Callable[[], Awaitable[Answer[None]]], breaker: Breaker) -> Check:
    async def check() -> CheckResult:
        answer = await ping()
        return CheckResult(ok=answer.ok, detail=answer.reason or "answers", breaker=str(breaker.state))

    return check
