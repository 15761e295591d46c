"""The monitor's own API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from headrace.contracts.errors import FieldError, ForbiddenError, NotFoundError, StoreUnavailableError
from headrace.contracts.values import PoolName, Timestamp, TypeName
from headrace.monitor import workers
from headrace.monitor.autoscale import Autoscale, AutoscaleView
from headrace.monitor.history_views import LONGEST_OF, HistoryAnswer, HistoryViews, step_for
from headrace.monitor.overview import Overview
from headrace.monitor.views import OverviewView, WorkerList
from headrace.runtime.web.auth import TOKEN, Scope
from headrace.runtime.web.problems import refused
from headrace.runtime.web.query import read_query
from headrace.runtime.web.responses import json_response
from headrace.runtime.web.routes import Route


class HistoryQuery(BaseModel):
    """The query of `GET /v1/history`. Without times: the last hour. Without a step: the finest that fits."""

    model_config = ConfigDict(extra="forbid")

    pool: PoolName | None = None
    type: TypeName | None = None
    since: Timestamp | None = None
    until: Timestamp | None = None
    step: int | None = Field(default=None, json_schema_extra={"enum": [*LONGEST_OF]})


class AutoscaleQuery(BaseModel):
    """The query of `GET /v1/autoscale/{pool}`. `slots`: of one worker service, where none lives to ask."""

    model_config = ConfigDict(extra="forbid")

    slots: int | None = Field(default=None, ge=1, le=10_000)


class JsonApi:
    """Answers `/v1/…`."""

    def __init__(self, overview: Overview, history: HistoryViews, autoscale: Autoscale) -> None:
        self._overview = overview
        self._history = history
        self._autoscale = autoscale

    async def overview(self, request: web.Request) -> web.Response:
        """`GET /v1/overview`."""
        refuse_tenants(request)
        return json_response((await self._overview.picture()).view)

    async def workers(self, request: web.Request) -> web.Response:
        """`GET /v1/workers`."""
        refuse_tenants(request)
        picture = await self._overview.picture()
        return json_response(WorkerList(workers=workers.details(picture.view.workers, picture.beats)))

    async def history(self, request: web.Request) -> web.Response:
        """`GET /v1/history`."""
        query = read_query(request, HistoryQuery)
        refuse_tenants(request)
        until = query.until or datetime.now(UTC)
        since = query.since or until - timedelta(hours=1)
        step = query.step or step_for(until - since)
        _check(since, until, step)
        return json_response(
            await self._history.answer(since=since, until=until, step=step, pool=query.pool, type_=query.type)
        )

    async def autoscale(self, request: web.Request) -> web.Response:
        """`GET /v1/autoscale/{pool}`."""
        query = read_query(request, AutoscaleQuery)
        refuse_tenants(request)
        return json_response(await self._autoscale.of(request.match_info["pool"], slots=query.slots))

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route(
                "GET",
                "/v1/overview",
                self.overview,
                scope=Scope.READ,
                summary="The health of the whole",
                responses={200: OverviewView},
                tags=["monitor"],
            ),
            Route(
                "GET",
                "/v1/workers",
                self.workers,
                scope=Scope.READ,
                summary="Worker services with their processes and what they run",
                responses={200: WorkerList},
                tags=["monitor"],
            ),
            Route(
                "GET",
                "/v1/history",
                self.history,
                scope=Scope.READ,
                summary="How full pools were and what happened in them, over time",
                query=HistoryQuery,
                responses={200: HistoryAnswer},
                problems=(StoreUnavailableError,),
                tags=["monitor"],
            ),
            Route(
                "GET",
                "/v1/autoscale/{pool}",
                self.autoscale,
                scope=Scope.READ,
                summary="How many worker services a pool could use",
                query=AutoscaleQuery,
                responses={200: AutoscaleView},
                problems=(NotFoundError, StoreUnavailableError),
                tags=["monitor"],
            ),
        ]


def refuse_tenants(request: web.Request) -> None:
    """Refuse a token that may see one tenant's jobs only.

    Raises:
        ForbiddenError: It has a tenant.
    """
    if request[TOKEN].tenant is not None:
        raise ForbiddenError("this shows every tenant's jobs; it needs a token without a tenant")


def _check(since: datetime, until: datetime, step: int) -> None:
    longest = LONGEST_OF.get(step)
    if longest is None:
        known = ", ".join(map(str, LONGEST_OF))
        raise refused([FieldError("/step", "unknown", f"must be one of {known} seconds", "query")])
    if not timedelta() < until - since:
        raise refused([FieldError("/since", "order", "must lie before until", "query")])
    if until - since > longest:
        hours = longest.total_seconds() / 3600
        raise refused([FieldError("/since", "too_long", f"a step of {step} s shows {hours:g} hours at most", "query")])
