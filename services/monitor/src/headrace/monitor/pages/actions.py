"""What can be done with jobs: each action has a page that asks first, and a form that has the scheduler do it.

The scheduler gets the visitor's own token. It decides what is allowed and writes the audit; this service changes
nothing by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.contracts.api import DeadLetterResult
from headrace.contracts.errors import (
    ApiError,
    FieldError,
    RefusedError,
    StoreUnavailableError,
)
from headrace.contracts.values import PoolName, TypeName
from headrace.monitor.pages.common import action_in, form_route, page_route
from headrace.monitor.pages.job import actions_of, job_id_of
from headrace.monitor.scheduler_source import SchedulerSource
from headrace.monitor.site.forms import Forms
from headrace.monitor.site.render import Site, see_other
from headrace.monitor.sources import MongoSource
from headrace.runtime.store.reads import ID_PATTERN
from headrace.runtime.web.auth import TOKEN, Scope, token_text
from headrace.runtime.web.problems import refused
from headrace.runtime.web.query import read_query
from headrace.runtime.web.routes import Route

JOB_ACTIONS: Final = ("cancel", "replay", "discard")
DEAD_ACTIONS: Final = ("replay", "discard")
MOST_DEAD = 10_000
MOST_SELECTED = 200


class DeadActionQuery(BaseModel):
    """The query of the page that asks before an action on dead letters."""

    model_config = ConfigDict(extra="forbid")

    type: TypeName | None = None
    pool: PoolName | None = None
    fingerprint: str | None = Field(default=None, max_length=200)


class Actions:
    """Pages that ask, and forms that do."""

    def __init__(self, site: Site, forms: Forms, mongo: MongoSource, scheduler: SchedulerSource) -> None:
        self._site = site
        self._forms = forms
        self._mongo = mongo
        self._scheduler = scheduler

    # -- one job ---------------------------------------------------------------------------------------------------

    async def ask_job(self, request: web.Request) -> web.Response:
        """Ask before something is done with a job."""
        action = action_in(request, JOB_ACTIONS)
        job = await self._mongo.job(job_id_of(request), tenant=request[TOKEN].tenant)
        possible = action in actions_of(job, request[TOKEN])
        return self._site.page(request, "ask_job", action=action, job=job, possible=possible)

    async def do_job(self, request: web.Request) -> web.Response:
        """Do it."""
        action, job_id = action_in(request, JOB_ACTIONS), job_id_of(request)
        await self._forms.read(request)
        if action == "discard":
            result = await self._dead_call(request, action, {"filter": {"ids": [job_id]}, "limit": 1})
            if not result.done:
                raise RefusedError("the job is no dead letter, or it is discarded already")
            return see_other(request, f"/jobs/{job_id}", done="discarded")
        told = await self._call(request, "POST", f"/v1/jobs/{job_id}/{action}")
        if action == "replay":
            return see_other(request, f"/jobs/{told.get('id')}", done="replayed")
        done = "cancelled" if told.get("state") == "cancelled" else "cancelling"
        return see_other(request, f"/jobs/{job_id}", done=done)

    # -- selected jobs ---------------------------------------------------------------------------------------------

    async def do_selected(self, request: web.Request) -> web.Response:
        """Cancel or replay the jobs that were ticked in a list: first ask, then do."""
        action = action_in(request, ("cancel", "replay"))
        fields = await self._forms.read(request)
        ids = ticked_in(fields)
        if "sure" not in fields:
            return self._site.page(request, "ask_selected", action=action, ids=ids, dead=False)
        done, problems = 0, []
        for job_id in ids:
            try:
                await self._call(request, "POST", f"/v1/jobs/{job_id}/{action}")
            except ApiError as error:
                if error.status in {401, 403, 503}:
                    raise
                problems.append((job_id, error.detail))
            else:
                done += 1
        return self._site.page(request, "did_selected", action=action, done=done, problems=problems)

    # -- dead letters ----------------------------------------------------------------------------------------------

    async def ask_dead(self, request: web.Request) -> web.Response:
        """Ask before dead letters are replayed or discarded: how many that would be."""
        action = action_in(request, DEAD_ACTIONS)
        query = read_query(request, DeadActionQuery)
        filter_ = {name: value for name, value in query.model_dump().items() if value is not None}
        body = {"filter": filter_, "limit": MOST_DEAD, "dry_run": True}
        result = await self._dead_call(request, action, body)
        return self._site.page(request, "ask_dead", action=action, filters=filter_, result=result, most=MOST_DEAD)

    async def do_dead(self, request: web.Request) -> web.Response:
        """Do it."""
        action = action_in(request, DEAD_ACTIONS)
        fields = await self._forms.read(request)
        filter_: dict[str, Any] = {
            name: fields[name][0] for name in ("type", "pool", "fingerprint") if fields.get(name, [""])[0]
        }
        if "ticked" in fields:
            filter_["ids"] = ticked_in(fields)
        if "sure" not in fields:
            ids = filter_.get("ids") or ticked_in(fields)
            return self._site.page(request, "ask_selected", action=action, ids=ids, dead=True)
        result = await self._dead_call(request, action, {"filter": filter_, "limit": MOST_DEAD})
        word = "replayed" if action == "replay" else "discarded"
        return see_other(request, "/dead-letters", done=word, count=result.done, refused=len(result.refused) or None)

    # --------------------------------------------------------------------------------------------------------------

    async def _dead_call(self, request: web.Request, action: str, body: Mapping[str, Any]) -> DeadLetterResult:
        told = await self._call(request, "POST", f"/v1/dead-letters/{action}", body)
        try:
            return DeadLetterResult.model_validate(told)
        except ValidationError:
            raise StoreUnavailableError("what answers is no scheduler of this version") from None

    async def _call(
        self, request: web.Request, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        return await self._scheduler.call(method, path, token=token_text(request), body=body)

    def routes(self) -> list[Route]:
        """Every page that asks and every form."""
        ask, do = page_route, form_route
        operate = Scope.OPERATE
        return [
            ask("/jobs/{id}/{action}", self.ask_job, "Asks before something is done with a job"),
            do("/jobs/{id}/{action}", self.do_job, "Cancel, replay or discard a job"),
            do("/selected/{action}", self.do_selected, "Cancel or replay several jobs", scope=operate),
            ask("/dead-letters/{action}", self.ask_dead, "Asks first", query=DeadActionQuery, scope=operate),
            do("/dead-letters/{action}", self.do_dead, "Replay or discard dead letters", scope=operate),
        ]


def ticked_in(fields: Mapping[str, list[str]]) -> list[str]:
    """The ids that were ticked.

    Raises:
        ValidationFailedError: None was.
    """
    ids = [job_id for job_id in fields.get("id", []) if ID_PATTERN.fullmatch(job_id)][:MOST_SELECTED]
    if not ids:
        raise refused([FieldError("/id", "missing", "tick at least one job", "form")])
    return ids
