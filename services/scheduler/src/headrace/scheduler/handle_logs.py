"""`GET /v1/jobs/{id}/logs`."""

from __future__ import annotations

from aiohttp import web

from headrace.contracts.api import JobLogLine, JobLogPage
from headrace.runtime.store.job_logs import JobLogs
from headrace.runtime.web.auth import TOKEN
from headrace.runtime.web.query import read_query
from headrace.runtime.web.responses import json_response
from headrace.scheduler.handle_reads import job_id_of
from headrace.scheduler.queries import LogsQuery
from headrace.scheduler.services import SERVICES


async def get_logs(request: web.Request) -> web.Response:
    """A stretch of what the job's attempts printed and logged."""
    query = read_query(request, LogsQuery)
    services, job_id = request.app[SERVICES], job_id_of(request)
    stores = services.stores
    await stores.mongo.read(lambda: services.reads.job(job_id, tenant=request[TOKEN].tenant))
    found = await stores.mongo.read(lambda: JobLogs(stores.database).read(job_id, after=query.after, limit=query.limit))
    lines = [
        JobLogLine(seq=line.seq, attempt=line.attempt, at=line.at, level=line.level, text=line.text) for line in found
    ]
    return json_response(JobLogPage(lines=lines, next_after=lines[-1].seq if lines else query.after))
