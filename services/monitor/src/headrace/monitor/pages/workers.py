"""`/workers`: who works, how alive they are, and what each process runs."""

from __future__ import annotations

from typing import Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from headrace.monitor import workers
from headrace.monitor.json_routes import refuse_tenants
from headrace.monitor.overview import Overview
from headrace.monitor.pages.common import page_route
from headrace.monitor.site.render import Site
from headrace.runtime.web.query import read_query
from headrace.runtime.web.routes import Route


class WorkersQuery(BaseModel):
    """The query. `gone`: also services that stopped in order."""

    model_config = ConfigDict(extra="forbid")

    gone: Literal["yes"] | None = None


class WorkersPage:
    """The page."""

    def __init__(self, site: Site, overview: Overview) -> None:
        self._site = site
        self._overview = overview

    async def show(self, request: web.Request) -> web.Response:
        """Answer."""
        query = read_query(request, WorkersQuery)
        refuse_tenants(request)
        picture = await self._overview.picture()
        found = workers.details(picture.view.workers, picture.beats)
        shown = [worker for worker in found if query.gone or worker.state != "stopped"]
        return self._site.page(
            request,
            "workers",
            live="every:5",
            workers=shown,
            gone=query.gone,
            hidden=len(found) - len(shown),
            unknown=any(part.kind == "worker" and part.status == "unknown" for part in picture.view.parts),
        )

    def routes(self) -> list[Route]:
        """Its route."""
        return [page_route("/workers", self.show, "Worker services, as a page", query=WorkersQuery)]
