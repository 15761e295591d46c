"""`POST /v1/jobs`."""

from __future__ import annotations

from aiohttp import hdrs, web

from headrace.contracts.errors import ApiError
from headrace.runtime.web.auth import TOKEN
from headrace.runtime.web.body import JOB_LIMIT_BYTES, read_raw_body
from headrace.runtime.web.query import read_headers
from headrace.runtime.web.responses import path_of
from headrace.scheduler.body import read_job_body
from headrace.scheduler.intake import Stored
from headrace.scheduler.queries import SubmitHeaders
from headrace.scheduler.services import SERVICES, Services
from headrace.scheduler.views import job_response


async def submit_job(request: web.Request) -> web.Response:
    """Store a job: 201 with the new one, 200 with the one that was stored with the same key."""
    services = request.app[SERVICES]
    try:
        raw = await read_raw_body(request, JOB_LIMIT_BYTES)
        with services.metrics.submit_seconds.time():
            stored = await _submit(request, raw, services)
    except ApiError as error:
        services.metrics.refused.labels(error.code).inc()
        raise
    location = path_of(request, f"/v1/jobs/{stored.job.id}")
    return job_response(stored.job, 201 if stored.created else 200, {hdrs.LOCATION: location})


async def _submit(request: web.Request, raw: bytes, services: Services) -> Stored:
    headers = read_headers(request, SubmitHeaders)
    body = read_job_body(raw, payload_limit_bytes=services.config.payload_limit_bytes)
    return await services.submitter.submit(body, token=request[TOKEN], key=headers.idempotency_key)
