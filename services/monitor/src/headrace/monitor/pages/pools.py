"""`/pools` and `/pools/{name}`: what waits where, how fast it goes, what holds it up."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from headrace.contracts.errors import NotFoundError
from headrace.monitor.json_routes import refuse_tenants
from headrace.monitor.overview import Overview
from headrace.monitor.pages.charts_data import WINDOWS, ChartsData
from headrace.monitor.pages.common import page_route
from headrace.monitor.pages.overview import WindowQuery
from headrace.monitor.pages.recents import Recents
from headrace.monitor.site.render import Site
from headrace.monitor.views import PoolView
from headrace.runtime.store.pools import PoolSettings
from headrace.runtime.web.query import read_query
from headrace.runtime.web.routes import Route


class PoolQuery(WindowQuery):
    """The query of one pool's page. `done`: what was just done here."""

    done: str = Field(default="", max_length=20)


class PoolPages:
    """Both pages."""

    def __init__(self, site: Site, overview: Overview, charts: ChartsData, recents: Recents) -> None:
        self._site = site
        self._overview = overview
        self._charts = charts
        self._recents = recents

    async def all(self, request: web.Request) -> web.Response:
        """The list."""
        refuse_tenants(request)
        picture = await self._overview.picture()
        rows = [(pool, await self._recents.of(pool.name, view=picture.view)) for pool in picture.view.pools]
        return self._site.page(
            request,
            "pools",
            live="every:5",
            rows=[(pool, recent, drains_in(pool, recent.ended_per_second)) for pool, recent in rows],
        )

    async def one(self, request: web.Request) -> web.Response:
        """One pool."""
        query = read_query(request, PoolQuery)
        refuse_tenants(request)
        name = request.match_info["name"]
        picture = await self._overview.picture()
        pool = next((pool for pool in picture.view.pools if pool.name == name), None)
        if pool is None:
            raise NotFoundError("there is no such pool")
        recent = await self._recents.of(name, view=picture.view)
        return self._site.page(
            request,
            "pool",
            live="every:2",
            pool=pool,
            done=query.done,
            settings=picture.settings.get(name, PoolSettings(name)),
            workers=[worker for worker in picture.view.workers if name in worker.pools and worker.state != "stopped"],
            figures=await self._charts.of(query.window, name, view=picture.view),
            recent=recent,
            windows=list(WINDOWS),
            window=query.window,
            drains_in=drains_in(pool, recent.ended_per_second),
        )

    def routes(self) -> list[Route]:
        """Their routes."""
        return [
            page_route("/pools", self.all, "Every pool, as a page"),
            page_route("/pools/{name}", self.one, "One pool, as a page", query=PoolQuery, problems=(NotFoundError,)),
        ]


def drains_in(pool: PoolView, ended_per_second: float | None) -> float | None:
    """Seconds until nothing waits, if it goes on as in the last minute and nothing is added."""
    if pool.waiting is None or pool.paused or not ended_per_second:
        return None
    waiting = sum(pool.waiting.values())
    return waiting / ended_per_second if waiting else None
