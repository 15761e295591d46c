"""`/about`: which parts there are, how this monitor is set up, and where to read on."""

from __future__ import annotations

import platform
from typing import Any

from aiohttp import web
from pydantic import SecretStr

from headrace.contracts.config import PREFIX, JobConfig
from headrace.monitor.json_routes import refuse_tenants
from headrace.monitor.overview import Overview
from headrace.monitor.pages.common import page_route
from headrace.monitor.site.render import Site
from headrace.runtime.process.logs import redact_url
from headrace.runtime.web.routes import Route


class AboutPage:
    """The page."""

    def __init__(self, site: Site, overview: Overview, config: JobConfig) -> None:
        self._site = site
        self._overview = overview
        self._settings = settings_of(config)

    async def show(self, request: web.Request) -> web.Response:
        """Answer."""
        refuse_tenants(request)
        picture = await self._overview.picture()
        return self._site.page(
            request,
            "about",
            parts=picture.view.parts,
            settings=self._settings,
            python=platform.python_version(),
            workers=sorted({(worker.service, worker.version) for worker in picture.view.workers}),
        )

    def routes(self) -> list[Route]:
        """Its route."""
        return [page_route("/about", self.show, "About this monitor, as a page")]


def settings_of(config: JobConfig) -> list[tuple[str, str, bool]]:
    """Each setting by its name: its value without secrets, and whether it is the default."""
    fields = JobConfig.model_fields
    return [
        (PREFIX + name.upper(), _word(getattr(config, name)), getattr(config, name) == fields[name].default)
        for name in fields
    ]


def _word(value: Any) -> str:
    if isinstance(value, SecretStr):
        return redact_url(value.get_secret_value())
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name}:{item}" for name, item in value.items())
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return redact_url(str(value)) or "empty"
