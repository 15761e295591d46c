"""Where the monitor is put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web
from prometheus_client import Gauge

from headrace.contracts.config import JobConfig
from headrace.monitor.activity_metrics import ActivityMetrics
from headrace.monitor.ask import Answer
from headrace.monitor.autoscale import Autoscale
from headrace.monitor.gauges import Gauges
from headrace.monitor.history_views import HistoryViews
from headrace.monitor.json_routes import JsonApi
from headrace.monitor.overview import Overview
from headrace.monitor.pages.about import AboutPage
from headrace.monitor.pages.actions import Actions
from headrace.monitor.pages.audit import AuditPage
from headrace.monitor.pages.charts_data import ChartsData
from headrace.monitor.pages.dead import DeadPage
from headrace.monitor.pages.job import JobPage
from headrace.monitor.pages.jobs import JobsPage
from headrace.monitor.pages.login import LoginPage
from headrace.monitor.pages.overview import OverviewPage
from headrace.monitor.pages.pool_actions import PoolActions
from headrace.monitor.pages.pools import PoolPages
from headrace.monitor.pages.recents import Recents
from headrace.monitor.pages.recovery import RecoveryPage
from headrace.monitor.pages.workers import WorkersPage
from headrace.monitor.sampler import LOOK_SECONDS, Sampler
from headrace.monitor.scheduler_source import SchedulerSource
from headrace.monitor.site.forms import Forms
from headrace.monitor.site.live import Live
from headrace.monitor.site.render import Site
from headrace.monitor.site.sealed import Sealer, key_of
from headrace.monitor.site.session import Sessions
from headrace.monitor.site.static import StaticFiles
from headrace.monitor.sources import MongoSource, RedisSource
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.process.every import every
from headrace.runtime.web.app import load_tokens, make_app
from headrace.runtime.web.auth import CREDENTIAL, TokenTable
from headrace.runtime.web.metrics import BEFORE_SCRAPE, REGISTRY, BreakerCollector
from headrace.runtime.web.middleware import ERROR_PAGE
from headrace.runtime.web.probes import Check, CheckResult
from headrace.runtime.web.routes import Route


async def build_app(config: JobConfig) -> web.Application:
    """The monitor's application. Opens no connection before it is asked for something.

    Raises:
        ConfigError: A store's URL or the tokens file is wrong.
    """
    tokens = load_tokens(config)
    mongo, redis, scheduler = MongoSource(config), RedisSource(config), SchedulerSource(config)
    overview = Overview(config, mongo=mongo, redis=redis, scheduler=scheduler)
    history = HistoryViews(mongo.database)
    sealer = Sealer(key_of(tokens.hashes() if tokens is not None else []))
    forms = Forms(sealer, read_only=config.read_only)
    files, live = StaticFiles(), Live(mongo)
    site, sessions = Site(forms, files), Sessions(sealer)
    checks = {"mongodb": _check(mongo.ping, mongo.breaker), "redis": _check(redis.ping, redis.breaker)}
    app = make_app(
        config,
        name="monitor",
        routes=[
            *JsonApi(overview, history, Autoscale(config, overview, mongo)).routes(),
            *live.routes(),
            *_pages(
                config=config,
                site=site,
                overview=overview,
                mongo=mongo,
                scheduler=scheduler,
                history=history,
                tokens=tokens,
            ),
            *LoginPage(site, forms, sessions, tokens).routes(),
            *Actions(site, forms, mongo, scheduler).routes(),
            *PoolActions(site, forms, overview, mongo, scheduler).routes(),
            *files.routes(),
        ],
        checks=checks,
        # Showing what is down is what the monitor is for: it must not be taken away just then.
        optional=checks,
        tokens=tokens,
    )
    app[CREDENTIAL] = sessions.token_text
    app[ERROR_PAGE] = site.error
    metrics = ActivityMetrics()
    registry = app[REGISTRY]
    registry.register(BreakerCollector([mongo.breaker, redis.breaker, scheduler.breaker]))
    registry.register(metrics)
    app[BEFORE_SCRAPE].append(Gauges(overview, registry).refresh)
    streams = Gauge("job_monitor_streams", "Event streams of browsers that are open here", registry=registry)
    streams.set_function(lambda: live.open)
    sampler = Sampler(overview, mongo.database, heard=metrics.heard)

    async def connections(_app: web.Application) -> AsyncIterator[None]:
        stop = asyncio.Event()
        sampling = asyncio.create_task(every(LOOK_SECONDS, sampler.run_once, name="history", stop=stop))
        yield
        stop.set()
        await sampling
        await scheduler.close()
        await redis.close()
        mongo.close()

    app.cleanup_ctx.append(connections)
    return app


def _pages(
    *,
    config: JobConfig,
    site: Site,
    overview: Overview,
    mongo: MongoSource,
    scheduler: SchedulerSource,
    history: HistoryViews,
    tokens: TokenTable | None,
) -> list[Route]:
    charts, recents = ChartsData(history), Recents(history)
    return [
        *OverviewPage(site, overview, charts, recents).routes(),
        *JobsPage(site, overview, mongo, tokens).routes(),
        *JobPage(site, mongo, scheduler, redact=config.redact_keys).routes(),
        *PoolPages(site, overview, charts, recents).routes(),
        *WorkersPage(site, overview).routes(),
        *DeadPage(site, mongo).routes(),
        *RecoveryPage(site, overview, mongo, history).routes(),
        *AboutPage(site, overview, config).routes(),
        *AuditPage(site, mongo).routes(),
    ]


def _check(ping: Callable[[], Awaitable[Answer[None]]], breaker: Breaker) -> Check:
    async def check() -> CheckResult:
        answer = await ping()
        return CheckResult(ok=answer.ok, detail=answer.reason or "answers", breaker=str(breaker.state))

    return check
