"""Debian's Python documentation, served on loopback, and an independent walk of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from aiohttp import web

FOLDERS = [Path("/usr/share/doc/python3/html"), Path("/usr/share/doc/python3.11/html")]
MAX_BYTES = 2_000_000


def find_folder() -> Path | None:
    """Where the package python3-doc is; None when it is not installed."""
    return next((folder.resolve() for folder in FOLDERS if (folder / "index.html").exists()), None)


class RealSite:
    """The served site. `fetches` notes every request in order; `seconds` slows each of them down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.origin = ""
        self.fetches: list[str] = []
        self.seconds = 0.0

    @property
    def start(self) -> str:
        """Where the crawl begins."""
        return f"{self.origin}/index.html"

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[RealSite]:
        """Serve it on a free loopback port."""
        app = web.Application(middlewares=[self._note])
        app.router.add_static("/", self.folder)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    @web.middleware
    async def _note(self, request: web.Request, handler: object) -> web.StreamResponse:
        self.fetches.append(f"{self.origin}{request.path_qs}")
        await asyncio.sleep(self.seconds)
        response: web.StreamResponse = await handler(request)  # type: ignore[operator]
        return response


class Anchors(HTMLParser):
    """The hrefs of a page, by the standard library alone."""

    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in {"a", "area"} and found.get("href") and "nofollow" not in (found.get("rel") or ""):
            self.hrefs.append(found["href"] or "")


def walk(folder: Path, start: str) -> tuple[dict[str, int], set[str]]:
    """Pages with their depths, and what is no page, read from the files without any of the crawler's parts."""
    origin = urljoin(start, "/")
    depths, others, level, depth = {}, set(), {start}, 0
    while level:
        found: set[str] = set()
        for url in level:
            file = folder / unquote(urlsplit(url).path).lstrip("/")
            if not file.is_file() or file.suffix != ".html" or file.stat().st_size > MAX_BYTES:
                others.add(url)
                continue
            depths[url] = depth
            parser = Anchors()
            parser.feed(file.read_text(encoding="utf-8"))
            found |= {urljoin(url, href).partition("#")[0] for href in parser.hrefs}
        level = {url for url in found if url.startswith(origin)} - set(depths) - others
        depth += 1
    return depths, others
