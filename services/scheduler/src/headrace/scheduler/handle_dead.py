"""Replays and dead letters."""

from __future__ import annotations

from aiohttp import hdrs, web

from headrace.contracts.api import DeadLetterGroup, DeadLetterGroups, JobList, JobSummary
from headrace.contracts.operations import DeadLetterAction
from headrace.runtime.store.dead_reads import DeadFilter
from headrace.runtime.web.auth import TOKEN
from headrace.runtime.web.body import read_body
from headrace.runtime.web.query import read_headers, read_query
from headrace.runtime.web.responses import json_response, path_of
from headrace.scheduler.handle_reads import LIST_SECONDS, job_id_of
from headrace.scheduler.intake import Stored
from headrace.scheduler.operators import OPERATORS
from headrace.scheduler.queries import DeadLetterQuery, SubmitHeaders, to_cursor
from headrace.scheduler.services import SERVICES
from headrace.scheduler.views import job_response


async def replay_job(request: web.Request) -> web.Response:
    """Make a new job like one that is over: 201 with the new one, 200 with the one made with the same key."""
    operators, token, job_id = request.app[OPERATORS], request[TOKEN], job_id_of(request)
    headers = read_headers(request, SubmitHeaders)

    async def replay() -> Stored:
        stored = await operators.replays.replay(job_id, token=token, key=headers.idempotency_key)
        if stored.created:
            await operators.audit.note(token, "replay", target=job_id)
        return stored

    stored = await request.app[SERVICES].tasks.shielded(replay())
    location = path_of(request, f"/v1/jobs/{stored.job.id}")
    return job_response(stored.job, 201 if stored.created else 200, {hdrs.LOCATION: location})


async def list_dead_letters(request: web.Request) -> web.Response:
    """A page of dead letters, newest first, or their groups."""
    query = read_query(request, DeadLetterQuery)
    reads, mongo = request.app[OPERATORS].dead_reads, request.app[SERVICES].stores.mongo
    wanted = DeadFilter(type=query.type, pool=query.pool, fingerprint=query.fingerprint, tenant=request[TOKEN].tenant)
    if query.group_by is not None:
        groups = await mongo.read(lambda: reads.groups(wanted), seconds=LIST_SECONDS)
        return json_response(DeadLetterGroups(groups=[DeadLetterGroup(**vars(group)) for group in groups]))
    jobs = await mongo.read(
        lambda: reads.newest(wanted, before_id=query.cursor, limit=query.limit + 1), seconds=LIST_SECONDS
    )
    shown = jobs[: query.limit]
    cursor = to_cursor(shown[-1].id) if len(jobs) > query.limit else None
    return json_response(JobList(jobs=[JobSummary.of(job) for job in shown], next_cursor=cursor))


async def replay_dead_letters(request: web.Request) -> web.Response:
    """Replay many."""
    action = await read_body(request, DeadLetterAction)
    work = request.app[OPERATORS].dead_letters.replay(action, request[TOKEN])
    return json_response(await request.app[SERVICES].tasks.shielded(work))


async def discard_dead_letters(request: web.Request) -> web.Response:
    """Hide many."""
    action = await read_body(request, DeadLetterAction)
    work = request.app[OPERATORS].dead_letters.discard(action, request[TOKEN])
    return json_response(await request.app[SERVICES].tasks.shielded(work))
