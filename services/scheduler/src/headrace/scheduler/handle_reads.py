"""The GETs: one job, its history and pages, lists, job types."""

from __future__ import annotations

from collections import Counter

from aiohttp import web

from headrace.contracts.api import HistoryView, JobList, JobSummary, JobTypeList, JobTypeView, PageList
from headrace.contracts.config import JobConfig
from headrace.contracts.errors import NotFoundError
from headrace.contracts.job import Job
from headrace.runtime.store.job_types import JobType
from headrace.runtime.store.reads import ID_PATTERN
from headrace.runtime.web.auth import TOKEN
from headrace.runtime.web.query import read_query
from headrace.runtime.web.responses import json_response
from headrace.scheduler.queries import ListQuery, PagesQuery, to_cursor
from headrace.scheduler.services import SERVICES
from headrace.scheduler.views import job_response

LIST_SECONDS = 10.0


async def get_job(request: web.Request) -> web.Response:
    """The job view."""
    return job_response(await _job(request))


async def get_history(request: web.Request) -> web.Response:
    """Every transition, and the last errors."""
    return json_response(HistoryView.of(await _job(request)))


async def get_pages(request: web.Request) -> web.Response:
    """A stretch of the pages that a crawl job has stored; none for other jobs."""
    query = read_query(request, PagesQuery)
    job = await _job(request)
    services = request.app[SERVICES]
    pages, cursor = await services.stores.mongo.read(
        lambda: services.crawls.pages(job.id, query.cursor, query.limit), seconds=LIST_SECONDS
    )
    return json_response(PageList(pages=pages, next_cursor=cursor))


async def list_jobs(request: web.Request) -> web.Response:
    """A page of jobs, newest first."""
    query = read_query(request, ListQuery)
    services = request.app[SERVICES]
    asked = query.to_job_query(tenant=request[TOKEN].tenant)
    jobs = await services.stores.mongo.read(lambda: services.reads.jobs(asked), seconds=LIST_SECONDS)
    shown = jobs[: query.limit]
    cursor = to_cursor(shown[-1].id) if len(jobs) > query.limit else None
    return json_response(JobList(jobs=[JobSummary.of(job) for job in shown], next_cursor=cursor))


async def list_job_types(request: web.Request) -> web.Response:
    """Every registered job type, with the number of worker children that run it now."""
    services = request.app[SERVICES]
    types = await services.stores.mongo.read(services.types.all)
    alive = await services.stores.mongo.read(services.incarnations.alive)
    workers = Counter(name for incarnation in alive for name in incarnation.types)
    views = [_type_view(item, workers[item.type], services.config) for item in types]
    return json_response(JobTypeList(types=views))


def job_id_of(request: web.Request) -> str:
    """The id in the path.

    Raises:
        NotFoundError: It is none of ours, so nobody needs to be asked.
    """
    job_id = request.match_info["id"]
    if not ID_PATTERN.fullmatch(job_id):
        raise NotFoundError("there is no such job")
    return job_id


async def _job(request: web.Request) -> Job:
    services = request.app[SERVICES]
    job_id = job_id_of(request)
    return await services.stores.mongo.read(lambda: services.reads.job(job_id, tenant=request[TOKEN].tenant))


def _type_view(item: JobType, workers: int, config: JobConfig) -> JobTypeView:
    policy = item.policy
    return JobTypeView(
        type=item.type,
        pool=item.pool,
        payload_schema=item.payload_schema,
        timeout_seconds=config.timeout_seconds if policy.timeout_seconds is None else policy.timeout_seconds,
        max_retries=config.max_retries if policy.max_retries is None else policy.max_retries,
        contract_version=item.contract_version,
        workers=workers,
    )
