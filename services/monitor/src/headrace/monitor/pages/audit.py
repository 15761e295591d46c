"""`/audit`: who did what, for administrators."""

from __future__ import annotations

import json
from functools import partial

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from headrace.monitor.pages.common import PAGE_JOBS, next_page, page_route
from headrace.monitor.site.render import Site
from headrace.monitor.sources import MongoSource
from headrace.runtime.web.auth import TOKEN, Scope
from headrace.runtime.web.query import read_query
from headrace.runtime.web.routes import Route


class AuditQuery(BaseModel):
    """The query."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(default=None, max_length=40)


class AuditPage:
    """The page."""

    def __init__(self, site: Site, mongo: MongoSource) -> None:
        self._site = site
        self._mongo = mongo

    async def show(self, request: web.Request) -> web.Response:
        """Answer."""
        query = read_query(request, AuditQuery)
        entries = await self._mongo.read(
            partial(self._mongo.audit.page, query.cursor, PAGE_JOBS + 1, tenant=request[TOKEN].tenant)
        )
        more = entries[PAGE_JOBS - 1].id if len(entries) > PAGE_JOBS else None
        shown = entries[:PAGE_JOBS]
        filters = [
            json.dumps({name: item for name, item in entry.filter.items() if item is not None}, ensure_ascii=False)
            if entry.filter
            else ""
            for entry in shown
        ]
        return self._site.page(
            request,
            "audit",
            entries=list(zip(shown, filters, strict=True)),
            more=next_page(request, more),
            first=query.cursor is None,
        )

    def routes(self) -> list[Route]:
        """Its route."""
        return [page_route("/audit", self.show, "Who did what, as a page", query=AuditQuery, scope=Scope.ADMIN)]
