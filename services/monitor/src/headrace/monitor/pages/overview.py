"""`/`: the health of the whole on one page."""

from __future__ import annotations

from typing import Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from headrace.contracts.states import JobState
from headrace.monitor.overview import Overview
from headrace.monitor.pages.charts_data import WINDOWS, ChartsData
from headrace.monitor.pages.common import page_route
from headrace.monitor.pages.recents import Recents
from headrace.monitor.site.render import Site, see_other
from headrace.runtime.web.auth import TOKEN
from headrace.runtime.web.query import read_query
from headrace.runtime.web.routes import Route

WindowName = Literal["hour", "day", "week", "month"]


class WindowQuery(BaseModel):
    """The query of pages with charts: how far back they look."""

    model_config = ConfigDict(extra="forbid")

    window: WindowName = "hour"


class OverviewPage:
    """The page."""

    def __init__(self, site: Site, overview: Overview, charts: ChartsData, recents: Recents) -> None:
        self._site = site
        self._overview = overview
        self._charts = charts
        self._recents = recents

    async def show(self, request: web.Request) -> web.Response:
        """Answer."""
        query = read_query(request, WindowQuery)
        if request[TOKEN].tenant is not None:
            return see_other(request, "/jobs")  # the whole is not theirs to see; their jobs are
        picture = await self._overview.picture()
        view = picture.view
        known = [pool for pool in view.pools if pool.complete is not None]
        waits = [pool.oldest_waiting_seconds for pool in known if pool.oldest_waiting_seconds is not None]
        return self._site.page(
            request,
            "overview",
            live="every:2",
            view=view,
            failures=picture.failures,
            running=picture.running,
            states=[state.value for state in JobState],
            figures=await self._charts.of(query.window, view=view),
            recent=await self._recents.of(None, view=view),
            windows=list(WINDOWS),
            window=query.window,
            busy=sum(pool.slots.busy for pool in known),
            slots=sum(pool.slots.total for pool in known) if known or not view.pools else None,
            oldest=max(waits, default=None),
        )

    def routes(self) -> list[Route]:
        """Its route."""
        return [page_route("/", self.show, "The health of the whole, as a page", query=WindowQuery)]
