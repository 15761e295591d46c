"""The parts behind what operators do: replays, dead letters, pools, the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from headrace.runtime.process.every import every
from headrace.runtime.store.audit import AuditLog
from headrace.runtime.store.dead_reads import DeadReads
from headrace.runtime.store.persistent_queue import PersistentJobQueue
from headrace.runtime.store.pools import Pools
from headrace.runtime.store.reconcile_reads import ReconcileReads
from headrace.scheduler.audit_trail import AuditTrail
from headrace.scheduler.dead_letters import DeadLetters
from headrace.scheduler.pool_settings import REFRESH_SECONDS, SettingsWatch
from headrace.scheduler.pool_views import PoolViews
from headrace.scheduler.replays import Replays
from headrace.scheduler.services import Services


@dataclass(frozen=True)
class Operators:
    """What the operators' handlers use."""

    audit: AuditTrail
    replays: Replays
    dead_reads: DeadReads
    dead_letters: DeadLetters
    pools: Pools
    pool_views: PoolViews
    settings: SettingsWatch


OPERATORS: Final = web.AppKey("OPERATORS", Operators)


def make_operators(services: Services) -> Operators:
    """The parts, on what the scheduler has already."""
    stores, database = services.stores, services.stores.database
    audit = AuditTrail(AuditLog(database), stores.mongo)
    replays = Replays(
        reads=services.reads,
        registry=services.registry,
        states=services.states,
        mongo=stores.mongo,
        submitter=services.submitter,
        batches=services.batches,
    )
    dead_reads, pools = DeadReads(database), Pools(database)
    return Operators(
        audit=audit,
        replays=replays,
        dead_reads=dead_reads,
        dead_letters=DeadLetters(
            reads=dead_reads, states=services.states, mongo=stores.mongo, replays=replays, audit=audit
        ),
        pools=pools,
        pool_views=PoolViews(
            pools=pools,
            types=services.types,
            reconcile=ReconcileReads(database),
            incarnations=services.incarnations,
            direct=PersistentJobQueue(database),
            mongo=stores.mongo,
            queue=stores.queue,
            hints=stores.hints,
            redis=stores.redis,
            bounds=services.bounds,
            rates=services.rates,
        ),
        settings=SettingsWatch(
            pools=pools, mongo=stores.mongo, bounds=services.bounds, queue=stores.queue, redis=stores.redis
        ),
    )


async def follow_settings(app: web.Application) -> AsyncIterator[None]:
    """Context of the application: its pools' settings are followed while it runs."""
    stop = asyncio.Event()
    watch = asyncio.create_task(
        every(REFRESH_SECONDS, app[OPERATORS].settings.refresh, name="pool_settings", stop=stop)
    )
    yield
    stop.set()
    await watch
