"""What can be done with pools and with dependencies that fail: each has a page that asks, and a form that does it.

As in `actions`, the scheduler gets the visitor's own token, decides, and writes the audit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from headrace.contracts.errors import FieldError, NotFoundError, StoreUnavailableError
from headrace.monitor.json_routes import refuse_tenants
from headrace.monitor.overview import Overview
from headrace.monitor.pages.common import action_in, form_route, page_route
from headrace.monitor.scheduler_source import SchedulerSource
from headrace.monitor.site.forms import Forms, text_in
from headrace.monitor.site.render import Site, see_other
from headrace.monitor.sources import MongoSource
from headrace.runtime.web.auth import Scope, token_text
from headrace.runtime.web.problems import refused
from headrace.runtime.web.routes import Route

STATES: Final = ("pause", "resume")
SIZES: Final = ("size_limit", "min_slots", "max_slots")
MOST_DIGITS: Final = 10


class PoolActions:
    """Pages that ask, and forms that do."""

    def __init__(
        self, site: Site, forms: Forms, overview: Overview, mongo: MongoSource, scheduler: SchedulerSource
    ) -> None:
        self._site = site
        self._overview = overview
        self._forms = forms
        self._mongo = mongo
        self._scheduler = scheduler

    async def ask_state(self, request: web.Request) -> web.Response:
        """Ask before a pool is paused or resumed, and why."""
        refuse_tenants(request)
        return self._site.page(request, "ask_pool", action=action_in(request, STATES), name=_name_in(request))

    async def do_state(self, request: web.Request) -> web.Response:
        """Do it."""
        action, name = action_in(request, STATES), _name_in(request)
        fields = await self._forms.read(request)
        body = {"reason": text_in(fields, "reason")} if action == "pause" else None
        await self._call(request, "POST", f"/v1/pools/{quote(name, safe='')}/{action}", body)
        return see_other(request, f"/pools/{name}", done=f"{action}d")

    async def ask_sizes(self, request: web.Request) -> web.Response:
        """The sizes that are set for a pool, to be changed."""
        refuse_tenants(request)
        name = _name_in(request)
        return self._site.page(request, "ask_sizes", name=name, settings=await self._mongo.pool_settings(name))

    async def do_sizes(self, request: web.Request) -> web.Response:
        """Set what differs from what the form showed: what somebody else has set meanwhile stays."""
        name = _name_in(request)
        fields = await self._forms.read(request)
        changes = {
            size: _number_in(fields, size)
            for size in SIZES
            if size in fields and text_in(fields, size) != text_in(fields, f"was_{size}")
        }
        if not changes:
            return see_other(request, f"/pools/{name}", done="same")
        await self._call(request, "PATCH", f"/v1/pools/{quote(name, safe='')}", changes)
        return see_other(request, f"/pools/{name}", done="sized")

    async def ask_breaker(self, request: web.Request) -> web.Response:
        """Ask before the breaker of a dependency is closed."""
        refuse_tenants(request)
        name = _name_in(request)
        breaker = next((found for found in await self._mongo.breakers() if found.name == name), None)
        if breaker is None:
            raise NotFoundError("no dependency of this name fails at the moment")
        return self._site.page(request, "ask_breaker", breaker=breaker)

    async def do_breaker(self, request: web.Request) -> web.Response:
        """Close it, so that the jobs parked behind it are tried as they fall due."""
        await self._forms.read(request)
        await self._call(request, "POST", f"/v1/breakers/{quote(_name_in(request), safe='')}/reset")
        return see_other(request, "/recovery", done="reset")

    async def _call(self, request: web.Request, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        try:
            await self._scheduler.call(method, path, token=token_text(request), body=body)
        except StoreUnavailableError as error:
            raise StoreUnavailableError(f"{error.detail}; look whether it was done before you repeat it") from None
        finally:
            self._overview.look_again()

    def routes(self) -> list[Route]:
        """Every page that asks and every form."""
        ask, do, operate = page_route, form_route, Scope.OPERATE
        return [
            ask("/pools/{name}/sizes", self.ask_sizes, "Asks for the sizes of a pool", scope=operate),
            do("/pools/{name}/sizes", self.do_sizes, "Set the sizes of a pool", scope=operate),
            ask("/pools/{name}/{action}", self.ask_state, "Asks before a pool is paused or resumed", scope=operate),
            do("/pools/{name}/{action}", self.do_state, "Pause or resume a pool", scope=operate),
            ask("/breakers/{name}/reset", self.ask_breaker, "Asks before a dependency is tried", scope=operate),
            do("/breakers/{name}/reset", self.do_breaker, "Close the breaker of a dependency", scope=operate),
        ]


def _name_in(request: web.Request) -> str:
    return request.match_info["name"]


def _number_in(fields: Mapping[str, list[str]], name: str) -> int | None:
    """A size; None for an empty field, which asks for the default. Whether it will do, the scheduler says."""
    text = text_in(fields, name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise refused([FieldError(f"/{name}", "form", "must be a whole number, or empty for the default", "form")])
    return int(text)
