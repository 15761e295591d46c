"""The parts of the scheduler, made from the settings. Nothing here connects: that happens at the first call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from headrace.contracts.config import JobConfig
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.hints import Hints
from headrace.runtime.queue.history import EventLog
from headrace.runtime.queue.limiter import RateLimiter
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.crawl_results import CrawlResults
from headrace.runtime.store.database import Database
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.job_types import JobTypes
from headrace.runtime.store.reads import Reads
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.web.auth import TokenTable
from headrace.scheduler.announce import Announcer
from headrace.scheduler.batch import BatchSubmitter
from headrace.scheduler.bounds import Bounds
from headrace.scheduler.clock import StoreClock
from headrace.scheduler.commit import Committer
from headrace.scheduler.keys import KeysInFlight
from headrace.scheduler.links import MongoLink, RedisLink
from headrace.scheduler.metrics import SchedulerMetrics
from headrace.scheduler.rate_limits import RatedIntake
from headrace.scheduler.rates import DrainRates
from headrace.scheduler.registry import Registry
from headrace.scheduler.submit import Submitter
from headrace.scheduler.tasks import Tasks
from headrace.scheduler.tenants import TenantShares, shares_of

APPNAME = "headrace-scheduler"
REDIS_ANSWER_SECONDS = 1.0
"""A submission goes on without Redis after this."""


@dataclass(frozen=True)
class Stores:
    """Both stores with what guards them."""

    database: Database
    mongo: MongoLink
    queue: RedisJobQueue
    hints: Hints
    events: EventLog
    limiter: RateLimiter
    redis: RedisLink


@dataclass(frozen=True)
class Services:
    """What the handlers use."""

    config: JobConfig
    stores: Stores
    states: JobStateManager
    reads: Reads
    types: JobTypes
    incarnations: Incarnations
    crawls: CrawlResults
    registry: Registry
    submitter: Submitter
    batches: BatchSubmitter
    bounds: Bounds
    rates: DrainRates
    announcer: Announcer
    tasks: Tasks
    metrics: SchedulerMetrics


SERVICES: Final = web.AppKey("SERVICES", Services)


def make_stores(config: JobConfig) -> Stores:
    """Handles on both stores.

    Raises:
        ConfigError: An address is malformed.
    """
    database = Database(config, appname=APPNAME)
    client = redis_client(config.redis_url, kind="command", name=APPNAME, answer_seconds=REDIS_ANSWER_SECONDS)
    return Stores(
        database=database,
        mongo=MongoLink(database, Breaker("mongo")),
        queue=RedisJobQueue(client, namespace=config.namespace),
        hints=Hints(client, config.namespace),
        events=EventLog(client, config.namespace),
        limiter=RateLimiter(client, namespace=config.namespace),
        redis=RedisLink(Breaker("redis")),
    )


def make_services(
    config: JobConfig, stores: Stores, registry: CollectorRegistry, tokens: TokenTable | None = None
) -> Services:
    """Everything else, on these stores.

    Args:
        config: The settings.
        stores: From `make_stores`.
        registry: Where the metrics are registered.
        tokens: Whose rates and shares are kept.
    """
    callers = tokens.all() if tokens is not None else []
    bounds = Bounds(config.queue_size_limit, config.shed_shares)
    rates = DrainRates(stores.queue, stores.redis)
    tasks, metrics = Tasks(), SchedulerMetrics(registry)
    reads = Reads(stores.database)
    states = JobStateManager(
        stores.database, retention_days=config.retention_days, dead_retention_days=config.dead_retention_days
    )
    announcer = Announcer(stores.events, stores.redis.breaker)
    committer = Committer(
        queue=stores.queue,
        redis=stores.redis,
        states=states,
        reads=reads,
        mongo=stores.mongo,
        clock=StoreClock(),
        tasks=tasks,
        announcer=announcer,
        metrics=metrics,
        bounds=bounds,
        shares=TenantShares(shares_of(callers), reads, stores.mongo),
        rates=rates,
    )
    types = JobTypes(stores.database)
    job_types = Registry(types, stores.mongo)
    keys = KeysInFlight()
    intake = RatedIntake(committer.commit, tasks, limiter=stores.limiter, redis=stores.redis, tokens=callers)
    submitter = Submitter(
        config=config,
        registry=job_types,
        intake=intake,
        states=states,
        mongo=stores.mongo,
        keys=keys,
        tasks=tasks,
        metrics=metrics,
    )
    batches = BatchSubmitter(
        config=config,
        registry=job_types,
        intake=intake,
        states=states,
        mongo=stores.mongo,
        keys=keys,
        metrics=metrics,
    )
    return Services(
        config=config,
        stores=stores,
        states=states,
        reads=reads,
        types=types,
        incarnations=Incarnations(stores.database),
        crawls=CrawlResults(stores.database.handle),
        registry=job_types,
        submitter=submitter,
        batches=batches,
        bounds=bounds,
        rates=rates,
        announcer=announcer,
        tasks=tasks,
        metrics=metrics,
    )
