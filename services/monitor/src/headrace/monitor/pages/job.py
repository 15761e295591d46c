"""`/jobs/{id}`: everything about one job."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from headrace.contracts.errors import ApiError, NotFoundError, StoreUnavailableError
from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.monitor.attempts import attempts_of, owners_of, timeline_of
from headrace.monitor.json_text import show
from headrace.monitor.pages.common import page_route
from headrace.monitor.scheduler_source import SchedulerSource
from headrace.monitor.site.render import Site
from headrace.monitor.sources import MongoSource
from headrace.runtime.store.reads import ID_PATTERN
from headrace.runtime.web.auth import TOKEN, Scope, Token, token_text
from headrace.runtime.web.query import read_query
from headrace.runtime.web.routes import Route

SHOWN_LINES = 200
WHY_SECONDS = 1.5


class JobPageQuery(BaseModel):
    """The query. `done`: what was just done here."""

    model_config = ConfigDict(extra="forbid")

    done: str = Field(default="", max_length=20)


class JobPage:
    """The page."""

    def __init__(self, site: Site, mongo: MongoSource, scheduler: SchedulerSource, *, redact: tuple[str, ...]) -> None:
        self._site = site
        self._mongo = mongo
        self._scheduler = scheduler
        self._redact = redact

    async def show(self, request: web.Request) -> web.Response:
        """Answer."""
        query = read_query(request, JobPageQuery)
        token = request[TOKEN]
        job = await self._mongo.job(job_id_of(request), tenant=token.tenant)
        (workers, lines), why = await asyncio.gather(self._beside(job), self._why(request, job))
        now = datetime.now(UTC)
        return self._site.page(
            request,
            "job",
            live=f"job:{job.id}" if not job.state.is_terminal else None,
            job=job,
            done=query.done,
            why=why,
            attempts=attempts_of(job, workers),
            worker=workers.get(job.owner or ""),
            timeline=timeline_of(job),
            lines=lines,
            lines_cut=len(lines) >= SHOWN_LINES,
            payload=show(job.payload, redact=self._redact),
            result=show(job.result, redact=self._redact),
            checkpoint=show(job.checkpoint, redact=self._redact),
            may=actions_of(job, token),
            running_seconds=(now - (job.started_at or job.claimed_at or now)).total_seconds(),
        )

    async def _beside(self, job: Job) -> tuple[dict[str, Any], list[Any]]:
        """The workers of its attempts and its last lines; without them the page is still of use."""
        reads = self._mongo.page_reads
        try:
            return await asyncio.gather(
                self._mongo.read(partial(reads.workers, owners_of(job))),
                self._mongo.read(partial(reads.last_lines, job.id, SHOWN_LINES)),
            )
        except StoreUnavailableError:
            return {}, []

    async def _why(self, request: web.Request, job: Job) -> dict[str, Any]:
        """The scheduler's answer to why the job does not run, under the visitor's token."""
        if job.state is not JobState.QUEUED:
            return {}
        try:
            async with asyncio.timeout(WHY_SECONDS):
                return await self._scheduler.call("GET", f"/v1/jobs/{job.id}/why", token=token_text(request))
        except ApiError as error:
            return {"unknown": error.detail}
        except TimeoutError:
            return {"unknown": "the scheduler does not answer in time"}

    def routes(self) -> list[Route]:
        """Its route."""
        return [
            page_route(
                "/jobs/{id}",
                self.show,
                "One job, as a page",
                query=JobPageQuery,
                problems=(NotFoundError, StoreUnavailableError),
            )
        ]


def job_id_of(request: web.Request) -> str:
    """The id in the path.

    Raises:
        NotFoundError: It is no id of ours.
    """
    text = request.match_info["id"]
    if not ID_PATTERN.fullmatch(text):
        raise NotFoundError("there is no such job")
    return text


def actions_of(job: Job, token: Token) -> list[str]:
    """What the visitor can do with the job now. The scheduler judges again when it is done."""
    operates = token.allows(Scope.OPERATE)
    owns = token.allows(Scope.SUBMIT) and job.submitted_by == token.name
    found = []
    if not job.state.is_terminal and job.cancel_requested_at is None and (operates or owns):
        found.append("cancel")
    if job.state.is_terminal and operates:
        found.append("replay")
    if job.state is JobState.FAILED and job.discarded_at is None and operates:
        found.append("discard")
    return found
