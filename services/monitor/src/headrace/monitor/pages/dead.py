"""`/dead-letters`: failed jobs, grouped by the kind of their error, or one kind of them."""

from __future__ import annotations

from functools import partial

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from headrace.contracts.values import PoolName, TypeName
from headrace.monitor.pages.common import PAGE_JOBS, asked, next_page, page_route
from headrace.monitor.site.render import Site
from headrace.monitor.sources import COUNT_CAP, MongoSource
from headrace.runtime.store.dead_reads import DeadFilter
from headrace.runtime.web.auth import TOKEN
from headrace.runtime.web.query import read_query
from headrace.runtime.web.routes import Route

GROUPED = 20_000
"""Of more dead letters the newest are grouped: enough to see what goes wrong, and quick."""


class DeadQuery(BaseModel):
    """The query. With a fingerprint: the jobs of that kind; else the kinds."""

    model_config = ConfigDict(extra="forbid")

    type: TypeName | None = None
    pool: PoolName | None = None
    fingerprint: str | None = Field(default=None, max_length=200)
    list: str | None = Field(default=None, pattern="^all$")
    cursor: str | None = Field(default=None, max_length=40)
    done: str = Field(default="", max_length=20)
    count: int = 0
    refused: int = 0


class DeadPage:
    """The page."""

    def __init__(self, site: Site, mongo: MongoSource) -> None:
        self._site = site
        self._mongo = mongo

    async def show(self, request: web.Request) -> web.Response:
        """Answer."""
        query = read_query(request, DeadQuery)
        tenant = request[TOKEN].tenant
        wanted = DeadFilter(type=query.type, pool=query.pool, fingerprint=query.fingerprint, tenant=tenant)
        dead = self._mongo.dead
        filters = {name: value for name, value in asked(query).items() if name in {"type", "pool", "fingerprint"}}
        if query.fingerprint is None and query.list is None:
            groups = await self._mongo.read(partial(dead.groups, wanted, newest=GROUPED))
            return self._site.page(
                request,
                "dead_groups",
                live="every:10" if tenant is None else None,
                groups=groups,
                total=sum(group.count for group in groups),
                grouped=GROUPED,
                query=query,
                filters=filters,
            )
        jobs = await self._mongo.read(partial(dead.newest, wanted, before_id=query.cursor, limit=PAGE_JOBS + 1))
        more = jobs[PAGE_JOBS - 1].id if len(jobs) > PAGE_JOBS else None
        total = await self._mongo.read(partial(dead.count, wanted, cap=COUNT_CAP))
        return self._site.page(
            request,
            "dead_list",
            jobs=jobs[:PAGE_JOBS],
            total=total,
            query=query,
            filters=filters,
            more=next_page(request, more),
        )

    def routes(self) -> list[Route]:
        """Its route."""
        return [page_route("/dead-letters", self.show, "Dead letters, as a page", query=DeadQuery)]
