"""A crawl of a real site, Debian's Python documentation, stores what an independent walk of it finds."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from real_site import MAX_BYTES, RealSite, walk

from headrace.contracts.config import JobConfig
from headrace.runtime.store.crawl_results import CrawlResults
from headrace.runtime.store.database import Database
from headrace.testing.memory_context import MemoryContext
from headrace.worker.crawler.payload import CrawlPayload
from headrace.worker.executors.crawl import CrawlJobExecutor
from headrace.worker.resources import WorkerResources


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_the_stored_pages_equal_an_independent_walk(
    config: JobConfig, real_site: RealSite, record_property: Callable[[str, object], None]
) -> None:
    start = real_site.start
    expected, others = walk(real_site.folder, start)
    database = Database(config, appname="test")
    results = CrawlResults(database.handle)
    executor = CrawlJobExecutor()
    executor.use(WorkerResources(results, config.model_copy(update={"crawl_allow_private": True})))
    context = MemoryContext("real-site")

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
    assert context.progress[-1] == (1.0, f"{len(expected)} of {len(expected)} pages")
