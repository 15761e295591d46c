"""Files of the pages, under paths that name their content, so that browsers may keep them for ever."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final

from aiohttp import hdrs, web

from headrace.runtime.web.routes import Route

_MEDIA_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class StaticFile:
    """One file of the package."""

    def __init__(self, name: str) -> None:
        self._body = resources.files("headrace.monitor").joinpath("static", name).read_bytes()
        stem, _, suffix = name.partition(".")
        self._media_type = _MEDIA_TYPES[suffix]
        self.path = f"/static/{stem}.{hashlib.sha256(self._body).hexdigest()[:12]}.{suffix}"

    def route(self) -> Route:
        """Open to everybody: the page to sign in needs them, and they say nothing about jobs."""

        async def serve(_request: web.Request) -> web.Response:
            headers = {hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable"}
            return web.Response(body=self._body, content_type=self._media_type, charset="utf-8", headers=headers)

        return Route(
            "GET",
            self.path,
            serve,
            scope=None,
            summary="A file of the pages",
            responses={200: None},
            tags=["pages"],
            media_type=self._media_type,
        )


class StaticFiles:
    """All of them, by name."""

    def __init__(self) -> None:
        names = sorted(
            item.name
            for item in resources.files("headrace.monitor").joinpath("static").iterdir()
            if item.name.partition(".")[2] in _MEDIA_TYPES
        )
        self._files = {name: StaticFile(name) for name in names}

    def path(self, name: str) -> str:
        """Where a file is served."""
        return self._files[name].path

    def routes(self) -> list[Route]:
        """A route for each."""
        return [file.route() for file in self._files.values()]
