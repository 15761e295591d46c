"""`POST /v1/jobs/{id}/cancel`."""

from __future__ import annotations

from aiohttp import web

from headrace.contracts.errors import AlreadyTerminalError, ForbiddenError, OutcomeUnknownError
from headrace.contracts.job import Job
from headrace.runtime.process.failpoints import afp
from headrace.runtime.store.values import CancelVerdict
from headrace.runtime.web.auth import TOKEN, Scope, Token
from headrace.runtime.web.query import check_names
from headrace.scheduler.drafts import WRITER
from headrace.scheduler.handle_reads import job_id_of
from headrace.scheduler.operators import OPERATORS
from headrace.scheduler.services import SERVICES, Services
from headrace.scheduler.views import job_response


async def cancel_job(request: web.Request) -> web.Response:
    """Cancel a job: 200 when it is cancelled now, 202 when its worker has been asked."""
    services = request.app[SERVICES]
    token = request[TOKEN]
    check_names(request, ())
    job_id = job_id_of(request)
    if not token.allows(Scope.OPERATE):
        await _check_is_own(services, job_id, token)
    # Shielded: once it was sent it will be applied, so what follows from it must be done as well.
    job, verdict = await services.tasks.shielded(_cancel_and_note(request, job_id, token))
    if verdict is CancelVerdict.ALREADY_OVER:
        raise AlreadyTerminalError(f"the job is {job.state} already", job_id=job.id)
    return job_response(job, 202 if verdict is CancelVerdict.REQUESTED else 200)


async def _check_is_own(services: Services, job_id: str, token: Token) -> None:
    job = await services.stores.mongo.read(lambda: services.reads.job(job_id, tenant=token.tenant))
    if job.submitted_by != token.name:
        raise ForbiddenError("another token submitted this job, and this one lacks the scope operate")


async def _cancel_and_note(request: web.Request, job_id: str, token: Token) -> tuple[Job, CancelVerdict]:
    job, verdict = await _cancel(request.app[SERVICES], job_id, token.tenant)
    if verdict in {CancelVerdict.CANCELLED, CancelVerdict.REQUESTED}:
        await request.app[OPERATORS].audit.note(token, "cancel", target=job.id)
    return job, verdict


async def _cancel(services: Services, job_id: str, tenant: str | None) -> tuple[Job, CancelVerdict]:
    stores = services.stores
    await afp("before_cancel")
    try:
        job, verdict = await stores.mongo.write(lambda: services.states.cancel(job_id, tenant=tenant, by=WRITER))
        await afp("after_cancel")
    except OutcomeUnknownError:
        raise OutcomeUnknownError(
            "the cancel was sent to MongoDB, which did not confirm it; repeat it", job_id=job_id, retry_after_seconds=2
        ) from None
    if verdict is CancelVerdict.CANCELLED:
        # The ghost that stays when this fails is dropped at its claim.
        services.tasks.afterwards("remove", stores.redis.call(lambda: stores.queue.remove(job.pool, [job.id])))
        services.announcer.cancelled(job)
    elif verdict is CancelVerdict.REQUESTED:
        services.tasks.afterwards("cancel_hint", stores.hints.control({"cancel": job.id}))
    return job, verdict
