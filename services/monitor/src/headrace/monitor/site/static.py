"""Files of the pages, under paths that name their content, so that browsers may keep them for ever."""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from typing import Final

from aiohttp import hdrs, web

from headrace.runtime.web.routes import Route

_MEDIA_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_IMPORT: Final = re.compile(rb'(from "\./)([a-z]+\.js)(";)')


class StaticFile:
    """One file of the package."""

    def __init__(self, name: str, body: bytes) -> None:
        self._body = body
        stem, _, suffix = name.partition(".")
        self._media_type = _MEDIA_TYPES[suffix]
        self.name = f"{stem}.{hashlib.sha256(body).hexdigest()[:12]}.{suffix}"
        self.path = f"/static/{self.name}"

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
        self._folder = resources.files("headrace.monitor").joinpath("static")
        self._files: dict[str, StaticFile] = {}
        for item in self._folder.iterdir():
            if item.name.partition(".")[2] in _MEDIA_TYPES:
                self._load(item.name)

    def _load(self, name: str) -> StaticFile:
        """A file; modules that a script imports come first, because it names them by their content too."""
        if name not in self._files:
            body = self._folder.joinpath(name).read_bytes()

            def named(match: re.Match[bytes]) -> bytes:
                return match[1] + self._load(match[2].decode()).name.encode() + match[3]

            self._files[name] = StaticFile(name, _IMPORT.sub(named, body))
        return self._files[name]

    def path(self, name: str) -> str:
        """Where a file is served."""
        return self._files[name].path

    def routes(self) -> list[Route]:
        """A route for each."""
        return [self._files[name].route() for name in sorted(self._files)]
