"""`GET /v1/jobs/{id}/why`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from aiohttp import web

from headrace.contracts.api import WhyView
from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.runtime.process.breaker import BreakerState
from headrace.runtime.store.breakers import HOST_PREFIX, DependencyBreakers
from headrace.runtime.store.pools import Pools
from headrace.runtime.store.why_reads import WhyReads
from headrace.runtime.web.auth import TOKEN
from headrace.runtime.web.query import check_names
from headrace.runtime.web.responses import json_response
from headrace.scheduler.handle_reads import job_id_of
from headrace.scheduler.services import SERVICES, Services
from headrace.scheduler.why import MAX_POSITION, Surroundings, explain_running, explain_terminal, explain_waiting

READ_SECONDS = 10.0


async def explain_job(request: web.Request) -> web.Response:
    """Why the job does not run, or that it does, or that it is over."""
    check_names(request, ())
    services = request.app[SERVICES]
    job_id, tenant = job_id_of(request), request[TOKEN].tenant
    job = await services.stores.mongo.read(lambda: services.reads.job(job_id, tenant=tenant))
    return json_response(await _explain(services, job))


async def _explain(services: Services, job: Job) -> WhyView:
    if job.state is JobState.PROCESSING:
        return explain_running(job)
    if job.state.is_terminal:
        return explain_terminal(job)
    return explain_waiting(job, await _look_around(services, job))


async def _look_around(services: Services, job: Job) -> Surroundings:
    mongo, database = services.stores.mongo, services.stores.database
    reads = WhyReads(database)
    now = datetime.now(UTC)
    pool = await mongo.read(lambda: Pools(database).settings(job.pool))
    alive = await mongo.read(services.incarnations.alive)
    knowing = [child for child in alive if child.pool == job.pool and job.type in child.types]
    slots = sum(child.slots for child in knowing if job.contract_version <= child.versions.get(job.type, sys.maxsize))
    busy = await mongo.read(lambda: reads.count_running(job.pool, cap=slots)) if slots else 0
    before = None
    if job.run_at <= now:
        before = await mongo.read(lambda: reads.count_before(job, cap=MAX_POSITION), seconds=READ_SECONDS)
    dependencies = await mongo.read(lambda: DependencyBreakers(database).of_type(job.type))
    breakers = {"Redis": services.stores.redis.breaker, "MongoDB": mongo.breaker}
    return Surroundings(
        now=now,
        paused=(pool.paused_reason or "") if pool.paused else None,
        before=before,
        slots=slots,
        knows_type=bool(knowing),
        busy=busy,
        open_breakers=(
            *(name for name, breaker in breakers.items() if breaker.state is BreakerState.OPEN),
            *(name for name in dependencies if _concerns(name, job)),
        ),
        rate=await services.rates.throughput_per_second(job.pool),
    )


def _concerns(dependency: str, job: Job) -> bool:
    """Whether a dependency that jobs of its type have met holds up this one: a host does where the payload names it."""
    host = dependency.removeprefix(HOST_PREFIX)
    return host == dependency or host in job.payload
