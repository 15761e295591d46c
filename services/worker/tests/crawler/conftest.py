"""A programmable site on loopback, a crawl over it, and a job context that only remembers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from pydantic import JsonValue

from headrace.runtime.store.crawl_results import StoredPage
from headrace.worker.crawler.crawler import Crawler
from headrace.worker.crawler.payload import CrawlPayload

Reply = str | bytes | web.Response | Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    """Answers by a table of raw paths; everything else is a 404. Counts and times what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Reply] = {}
        self.hits: Counter[str] = Counter()
        self.asked_at: list[tuple[str, float]] = []
        self.agents: set[str] = set()
        self.origin = ""
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


class FakeContext:
    """Keeps what a job says; its `cancelled` is set by the test."""

    def __init__(self, job_id: str = "job-1", attempt: int = 1) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.checkpoint: JsonValue = None
        self.cancelled = False
        self.scratch_dir = Path()
        self.log = structlog.get_logger()
        self.sync: Any = None
        self.progress: list[tuple[float, str]] = []
        self.checkpoints: list[Any] = []

    async def report_progress(self, fraction: float, message: str = "") -> None:
        assert 0 <= fraction <= 1
        self.progress.append((fraction, message))

    async def save_checkpoint(self, value: JsonValue) -> None:
        self.checkpoint = value
        self.checkpoints.append(value)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.start()
    yield site
    await site.stop()


@pytest.fixture
async def other_site() -> AsyncIterator[Site]:
    site = Site()
    await site.start()
    yield site
    await site.stop()


@pytest.fixture
def make_context() -> Callable[..., FakeContext]:
    return FakeContext


@pytest.fixture
def crawl(site: Site) -> Callable[..., Awaitable[dict[str, StoredPage]]]:
    """Crawl the site from "/" (or `start`) and return its pages by path; others by their whole URL."""

    async def run(
        *start: str, allow_private: bool = True, resolver: Any = None, **fields: Any
    ) -> dict[str, StoredPage]:
        kept: dict[str, StoredPage] = {}

        async def keep(page: StoredPage) -> None:
            path = page.url.removeprefix(site.origin)
            assert path not in kept, f"{path} was kept twice"
            kept[path] = page

        urls = [url if "://" in url else site.url(url) for url in start or ("/",)]
        payload = CrawlPayload(start_urls=urls, **fields)
        crawler = Crawler(payload, keep=keep, allow_private=allow_private, resolver=resolver)
        async with asyncio.timeout(60):
            await crawler.crawl()
        assert crawler.counts.done == len(kept)
        return kept

    return run
