"""The overview as a page: server-rendered, no script, nothing from elsewhere."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final

import jinja2
from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field

from headrace.contracts.errors import ForbiddenError
from headrace.contracts.states import JobState
from headrace.contracts.values import to_rfc3339
from headrace.monitor import words
from headrace.monitor.overview import Overview
from headrace.monitor.views import OverviewView
from headrace.runtime.web.auth import TOKEN, Scope
from headrace.runtime.web.query import read_query
from headrace.runtime.web.responses import json_response, path_of
from headrace.runtime.web.routes import Route

SECURITY: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
_STATIC: Final = {"monitor.css": "text/css", "icon.svg": "image/svg+xml"}


class PageQuery(BaseModel):
    """The query of the page. `refresh`: reload every so many seconds; off by default, since it moves what one reads."""

    model_config = ConfigDict(extra="forbid")

    refresh: int | None = Field(default=None, ge=2, le=3600)


def overview_routes(overview: Overview) -> list[Route]:
    """The page, its files and the same as JSON."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("headrace.monitor"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": words.count,
        "number": words.number,
        "age": words.age,
        "since": words.since,
        "short": words.short,
        "rfc3339": to_rfc3339,
    }
    template = environment.get_template("overview.html.j2")
    files = {name: _StaticFile(name, media_type) for name, media_type in _STATIC.items()}

    async def page(request: web.Request) -> web.Response:
        query = read_query(request, PageQuery)
        _refuse_tenants(request)
        picture = await overview.picture()
        links = {name.partition(".")[0]: path_of(request, file.path) for name, file in files.items()}
        text = template.render(
            view=picture.view,
            failures=picture.failures,
            running=picture.running,
            states=[state.value for state in JobState],
            refresh=query.refresh,
            links=links,
            home=path_of(request, "/"),
            overview_json=path_of(request, "/v1/overview"),
        )
        return web.Response(text=text, content_type="text/html", headers=SECURITY)

    async def overview_json(request: web.Request) -> web.Response:
        _refuse_tenants(request)
        return json_response((await overview.picture()).view)

    return [
        Route(
            "GET",
            "/v1/overview",
            overview_json,
            scope=Scope.READ,
            summary="The health of the whole",
            responses={200: OverviewView},
            tags=["overview"],
        ),
        Route(
            "GET",
            "/",
            page,
            scope=Scope.READ,
            summary="The health of the whole, as a page",
            query=PageQuery,
            responses={200: None},
            tags=["overview"],
            media_type="text/html",
        ),
        *(file.route() for file in files.values()),
    ]


def _refuse_tenants(request: web.Request) -> None:
    if request[TOKEN].tenant is not None:
        raise ForbiddenError("the overview shows every tenant's jobs; it needs a token without a tenant")


class _StaticFile:
    """A file of the package under a path that names its content, so that it may be kept for ever."""

    def __init__(self, name: str, media_type: str) -> None:
        self._body = resources.files("headrace.monitor").joinpath("static", name).read_bytes()
        self._media_type = media_type
        stem, _, suffix = name.partition(".")
        self.path = f"/static/{stem}.{hashlib.sha256(self._body).hexdigest()[:12]}.{suffix}"

    def route(self) -> Route:
        async def serve(_request: web.Request) -> web.Response:
            headers = {hdrs.CACHE_CONTROL: "private, max-age=31536000, immutable"}
            return web.Response(body=self._body, content_type=self._media_type, charset="utf-8", headers=headers)

        return Route(
            "GET",
            self.path,
            serve,
            scope=Scope.READ,
            summary="A file of the page",
            responses={200: None},
            tags=["overview"],
            media_type=self._media_type,
        )
