"""`/recovery`: who leads it, what it repaired, which workers died and how, and what still differs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.heartbeat import Incarnation
from headrace.monitor.history_views import HistoryViews
from headrace.monitor.json_routes import refuse_tenants
from headrace.monitor.overview import Overview
from headrace.monitor.pages.common import page_route
from headrace.monitor.site.render import Site
from headrace.monitor.sources import MongoSource
from headrace.runtime.store.history import MIDDLE_SECONDS
from headrace.runtime.web.query import read_query
from headrace.runtime.web.routes import Route

LISTED_DEATHS = 25


class RecoveryQuery(BaseModel):
    """The query. `done`: what was just done here."""

    model_config = ConfigDict(extra="forbid")

    done: str = Field(default="", max_length=20)


class RecoveryPage:
    """The page."""

    def __init__(self, site: Site, overview: Overview, mongo: MongoSource, history: HistoryViews) -> None:
        self._site = site
        self._overview = overview
        self._mongo = mongo
        self._history = history

    async def show(self, request: web.Request) -> web.Response:
        """Answer. What MongoDB does not say is left out, and said to be."""
        query = read_query(request, RecoveryQuery)
        refuse_tenants(request)
        picture = await self._overview.picture()
        deaths: list[Incarnation] | None = None
        handed_back: dict[str, int] | None = None
        with suppress(StoreUnavailableError):
            deaths, handed_back = await asyncio.gather(
                self._mongo.read(partial(self._mongo.page_reads.deaths, LISTED_DEATHS)), self._handed_back()
            )
        return self._site.page(
            request,
            "recovery",
            live="every:5",
            done=query.done,
            part=picture.view.part("recovery"),
            redis=picture.view.part("redis"),
            recovery=picture.view.recovery,
            pools=picture.view.pools,
            not_indexed=picture.not_indexed,
            breakers=picture.breakers,
            deaths=deaths,
            handed_back=handed_back,
        )

    async def _handed_back(self) -> dict[str, int]:
        """Per pool, what recovery or stopping workers gave back in the last day."""
        until = datetime.now(UTC)
        samples = await self._history.samples(since=until - timedelta(days=1), until=until, step=MIDDLE_SECONDS)
        found: dict[str, int] = {}
        for sample in samples:
            found[sample.pool] = found.get(sample.pool, 0) + sample.counts.get("handed_back", 0)
        return found

    def routes(self) -> list[Route]:
        """Its route."""
        return [page_route("/recovery", self.show, "Recovery, as a page", query=RecoveryQuery)]
