"""`/jobs`: jobs, newest first, by whatever one looks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from headrace.contracts.errors import FieldError
from headrace.contracts.job import Priority
from headrace.contracts.states import JobState
from headrace.contracts.values import PoolName, TypeName
from headrace.monitor.overview import Overview
from headrace.monitor.pages.common import PAGE_JOBS, asked, next_page, page_route
from headrace.monitor.site.render import Site, see_other
from headrace.monitor.sources import COUNT_CAP, MongoSource
from headrace.runtime.store.job_search import Search
from headrace.runtime.store.reads import ID_PATTERN
from headrace.runtime.web.auth import LOCAL_ADMIN, TOKEN, TokenTable
from headrace.runtime.web.problems import refused
from headrace.runtime.web.query import read_query
from headrace.runtime.web.routes import Route

AGES: Final = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}


class JobsQuery(BaseModel):
    """The filters. Everything given must hold; empty ones, as a form sends them, ask for nothing."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field(default="", max_length=200)
    """The beginning of an id, or an idempotency key."""
    state: JobState | Literal[""] = ""
    type: TypeName | Literal[""] = ""
    pool: PoolName | Literal[""] = ""
    priority: Priority | Literal[""] = ""
    tag: str = Field(default="", max_length=310)
    worker: str = Field(default="", max_length=100)
    error: str = Field(default="", max_length=300)
    age: Literal["", "15m", "1h", "24h", "7d", "30d"] = ""
    cursor: str = Field(default="", max_length=40)
    done: str = Field(default="", max_length=20)
    count: str = Field(default="", max_length=10)


class JobsPage:
    """The page."""

    def __init__(self, site: Site, overview: Overview, mongo: MongoSource, tokens: TokenTable | None) -> None:
        self._site = site
        self._overview = overview
        self._mongo = mongo
        self._scopes = [token.name for token in tokens.all()] if tokens is not None else [LOCAL_ADMIN.name]

    async def show(self, request: web.Request) -> web.Response:
        """Answer."""
        query = read_query(request, JobsQuery)
        tenant = request[TOKEN].tenant
        text = query.q.strip()
        if ID_PATTERN.fullmatch(text.lower()):
            return see_other(request, f"/jobs/{text.lower()}")
        if text:
            found = await self._mongo.read(
                partial(self._mongo.search.by_name, text, scopes=self._scopes, tenant=tenant, limit=PAGE_JOBS)
            )
            jobs, following, cut, total = found, None, False, None
        else:
            search = search_of(query, tenant=tenant)
            page = await self._mongo.read(partial(self._mongo.search.page, search, limit=PAGE_JOBS))
            jobs, following, cut = page.jobs, page.next_before, page.cut
            total = await self._mongo.read(partial(self._mongo.search.count, search, cap=COUNT_CAP))
        # Which pools there are tells of others; a tenant types the names of its own.
        known = (await self._overview.picture()).view.pools if tenant is None else []
        filters = {name: value for name, value in asked(query).items() if name not in {"cursor", "done", "count"}}
        return self._site.page(
            request,
            "jobs",
            live="every:3" if tenant is None and not query.cursor and not text else None,
            jobs=jobs,
            total=total,
            cut=cut,
            query=query,
            filters=filters,
            more=next_page(request, following),
            states=[state.value for state in JobState],
            pools=[pool.name for pool in known],
            types=sorted({name for pool in known for name in pool.types}),
            priorities=[priority.value for priority in Priority],
            ages=list(AGES),
        )

    def routes(self) -> list[Route]:
        """Its route."""
        return [page_route("/jobs", self.show, "Jobs, as a page", query=JobsQuery)]


def search_of(query: JobsQuery, *, tenant: str | None) -> Search:
    """The search that a query asks for.

    Raises:
        ValidationFailedError: The tag has no value.
    """
    tag = None
    if query.tag:
        name, colon, value = query.tag.partition(":")
        if not colon:
            raise refused([FieldError("/tag", "form", "must look like name:value", "query")])
        tag = (name, value)
    return Search(
        state=query.state or None,
        type=query.type or None,
        pool=query.pool or None,
        priority=Priority(query.priority).rank if query.priority else None,
        tag=tag,
        owner=query.worker or None,
        error=query.error or None,
        tenant=tenant,
        since=datetime.now(UTC) - AGES[query.age] if query.age else None,
        before_id=query.cursor or None,
    )
