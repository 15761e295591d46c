"""Puts event streams into an application: the hub, its own Redis connection for hints, and their ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from headrace.contracts.events import JobEvent
from headrace.runtime.process.lifecycle import STOPPING
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.history import EventLog
from headrace.runtime.store.event_reads import EventReads
from headrace.scheduler.event_hub import HUB, EventHub
from headrace.scheduler.services import SERVICES


def install_events(app: web.Application) -> None:
    """Give the application its hub, which reads as long as the application runs."""
    services = app[SERVICES]
    config, stores = services.config, services.stores
    reads = EventReads(stores.database)
    # Its own: a subscription waits for messages without an end.
    listening = redis_client(config.redis_url, kind="pubsub", name="headrace-scheduler-events", max_connections=2)

    async def standing(job_ids: list[str]) -> dict[str, JobEvent]:
        return await stores.mongo.read(lambda: reads.standing(job_ids))

    app[HUB] = hub = EventHub(stores.events, EventLog(listening, config.namespace), standing)

    async def run(_app: web.Application) -> AsyncIterator[None]:
        running = asyncio.create_task(hub.run(), name="events.hub")
        yield
        hub.close()
        await running
        await listening.aclose()

    app.cleanup_ctx.append(run)
    app.on_shutdown.append(_end_streams)


async def _end_streams(app: web.Application) -> None:
    # Set long before by a service that was told to stop; an application that ends in another way must not wait either.
    app[STOPPING].set()
