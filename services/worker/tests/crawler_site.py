"""A programmable site on loopback."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable

from aiohttp import web

Reply = str | bytes | web.Response | Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    """Answers by a table of raw paths; everything else is a 404. Counts and times what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Reply] = {}
        self.hits: Counter[str] = Counter()
        self.asked_at: list[tuple[str, float]] = []
        self.agents: set[str] = set()
        self.origin = ""
        self.is_down = False
        """While true, every request is cut off without an answer."""
        self._runner: web.AppRunner | None = None

    def page(self, path: str, body: str = "", *, links: list[str] | None = None, head: str = "") -> None:
        """A page of HTML with these links."""
        anchors = "".join(f'<a href="{href}">x</a>' for href in links or [])
        self.pages[path] = f"<html><head><title>{path}</title>{head}</head><body>{body}{anchors}</body></html>"

    def redirect(self, path: str, location: str, status: int = 302) -> None:
        self.pages[path] = web.Response(status=status, headers={"Location": location})

    def url(self, path: str) -> str:
        return self.origin + path

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("GET", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.origin = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path
        self.hits[path] += 1
        self.asked_at.append((path, time.monotonic()))
        self.agents.add(request.headers.get("User-Agent", ""))
        if self.is_down:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        reply = self.pages.get(path)
        if reply is None:
            return web.Response(status=404)
        if isinstance(reply, str):
            return web.Response(text=reply, content_type="text/html")
        if isinstance(reply, bytes):
            return web.Response(body=reply, headers={"Content-Type": "text/html"})
        if isinstance(reply, web.Response):
            return web.Response(status=reply.status, headers=reply.headers, body=reply.body)
        return await reply(request)
