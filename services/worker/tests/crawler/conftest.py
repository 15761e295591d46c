"""A crawl over a programmable site, and a job context that only remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import structlog
from crawler_site import Site
from pydantic import JsonValue

from headrace.runtime.store.crawl_results import StoredPage
from headrace.worker.crawler.crawler import Crawler
from headrace.worker.crawler.payload import CrawlPayload


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

    def dependency(self, name: str) -> AbstractAsyncContextManager[None]:
        return nullcontext()

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
