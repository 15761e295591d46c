"""A crawl of a real site, Debian's Python documentation, stores what an independent walk of it finds."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import structlog
from aiohttp import web
from pydantic import JsonValue

from headrace.contracts.config import JobConfig
from headrace.runtime.store.crawl_results import CrawlResults
from headrace.runtime.store.database import Database
from headrace.worker.crawler.payload import CrawlPayload
from headrace.worker.executors.crawl import CrawlJobExecutor
from headrace.worker.resources import WorkerResources

FOLDERS = [Path("/usr/share/doc/python3/html"), Path("/usr/share/doc/python3.11/html")]
MAX_BYTES = 2_000_000


@pytest.fixture
def folder() -> Path:
    for folder in FOLDERS:
        if (folder / "index.html").exists():
            return folder.resolve()
    pytest.skip("the Debian package python3-doc is not installed")


@pytest.fixture
async def origin(folder: Path) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


class Context:
    """A job context that keeps nothing but the last words."""

    job_id = "real-site"
    attempt = 1
    checkpoint: JsonValue = None
    cancelled = False
    scratch_dir = Path()
    sync: Any = None
    log = structlog.get_logger()

    async def report_progress(self, fraction: float, message: str = "") -> None:
        self.last = (fraction, message)

    async def save_checkpoint(self, value: JsonValue) -> None:
        self.checkpoint = value


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


@pytest.mark.slow
async def test_the_stored_pages_equal_an_independent_walk(
    config: JobConfig, folder: Path, origin: str, record_property: Callable[[str, object], None]
) -> None:
    start = f"{origin}/index.html"
    expected, others = walk(folder, start)
    database = Database(config, appname="test")
    results = CrawlResults(database.handle)
    executor = CrawlJobExecutor()
    executor.use(WorkerResources(results, config.model_copy(update={"crawl_allow_private": True})))
    context = Context()

    began = time.monotonic()
    result = await executor.execute(context, CrawlPayload(start_urls=[start], max_bytes=MAX_BYTES))
    seconds = time.monotonic() - began

    pages, _ = await results.pages(context.job_id, limit=1000)
    database.close()
    record_property("pages_per_second", round(len(pages) / seconds, 1))
    assert {page.url: page.depth for page in pages if page.state == "ok"} == expected
    assert {page.url for page in pages if page.state != "ok"} == others
    assert len(expected) > 400
    assert isinstance(result, dict)
    assert (result["pages"], result["stopped"]) == (len(expected), "complete")
    assert context.last == (1.0, f"{len(expected)} of {len(expected)} pages")
