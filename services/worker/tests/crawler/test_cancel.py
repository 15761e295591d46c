"""A cancel ends a crawl within a second, whatever it waits for just then."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import web

from headrace.contracts.errors import JobCancelled
from headrace.runtime.store.crawl_results import CrawlResults, StoredPage
from headrace.runtime.store.database import Database
from headrace.worker.crawler import crawler as crawler_module
from headrace.worker.crawler import retrying, visit
from headrace.worker.crawler.payload import CrawlPayload
from headrace.worker.executors.crawl import CrawlJobExecutor
from headrace.worker.resources import WorkerResources


class Waits:
    """Where a crawl is made to wait, and the moment from which it does."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def for_ever(self, *_: object, **__: object) -> None:
        self.begun.set()
        await asyncio.sleep(600)

    async def hanging(self, _: web.Request) -> web.StreamResponse:
        await self.for_ever()
        return web.Response()

    def answering(self, status: int, **headers: str):
        async def answer(_: web.Request) -> web.StreamResponse:
            self.begun.set()
            return web.Response(status=status, headers=headers)

        return answer


@pytest.fixture
async def database(config):
    database = Database(config, appname="test")
    yield database
    database.close()


async def cancelled_after(waits, database, config, context, payload, results=None) -> float:
    """Seconds from the cancel to the end of the crawl."""
    executor = CrawlJobExecutor()
    settings = config.model_copy(update={"crawl_allow_private": True})
    executor.use(WorkerResources(results or CrawlResults(database.handle), settings))
    run = asyncio.create_task(executor.execute(context, payload))
    async with asyncio.timeout(20):
        await waits.begun.wait()
    await asyncio.sleep(0.05)
    assert not run.done()
    context.cancelled = True
    began = time.monotonic()
    with pytest.raises(JobCancelled):
        await run
    return time.monotonic() - began


@pytest.mark.parametrize("place", ["page", "robots", "retry-after", "back-off", "delay", "name", "parser"])
async def test_in_every_place_where_a_page_may_wait(site, database, config, make_context, monkeypatch, place):
    waits = Waits()
    site.page("/", links=["/next"])
    fields = {}
    match place:
        case "page":
            site.pages["/next"] = waits.hanging
        case "robots":
            site.pages["/robots.txt"] = waits.hanging
        case "retry-after":
            site.pages["/next"] = waits.answering(429, **{"Retry-After": "100"})
        case "back-off":
            monkeypatch.setattr(retrying, "BACK_OFF", retrying.RetryPolicy(base_seconds=100, cap_seconds=100))
            monkeypatch.setattr(retrying.random, "random", lambda: 1.0)
            site.pages["/next"] = waits.answering(503)
        case "delay":
            fields["delay_seconds"] = 600
            site.pages["/"] = waits.answering(404)
            fields["start_urls"] = [site.url("/"), site.url("/next")]
        case "name":
            make = crawler_module.make_session

            def with_a_dead_name_server(**settings):
                session = make(**settings)
                session.connector._resolve_host = waits.for_ever
                return session

            monkeypatch.setattr(crawler_module, "make_session", with_a_dead_name_server)
        case "parser":
            loop = asyncio.get_running_loop()

            def slow(*_: object, **__: object):
                loop.call_soon_threadsafe(waits.begun.set)
                time.sleep(1.5)

            monkeypatch.setattr(visit, "BIG_PAGE_BYTES", 0)
            monkeypatch.setattr(visit, "read_page", slow)
    payload = CrawlPayload(**{"start_urls": [site.url("/")]} | fields)

    assert await cancelled_after(waits, database, config, make_context(), payload) < 1


@pytest.mark.parametrize("place", ["save", "resume", "links", "checkpoint", "full"])
async def test_in_every_place_where_the_store_may_keep_it_waiting(site, database, config, make_context, place):
    waits = Waits()
    links = [f"/{n}" for n in range(200)] if place == "full" else ["/next"]
    site.page("/", links=links)
    for link in links:
        site.page(link)
    context = make_context(attempt=2)
    if place == "links":
        home = StoredPage(url=site.url("/"), state="ok", depth=0, links=(site.url("/next"),))
        await CrawlResults(database.handle).save(context.job_id, 1, [home])
    if place == "checkpoint":
        context.save_checkpoint = waits.for_ever

    class Stuck(CrawlResults):
        async def save(self, *args):
            await (waits.for_ever() if place in ("save", "full") else super().save(*args))

        async def resume(self, job_id):
            if place == "resume":
                await waits.for_ever()
            async for page in super().resume(job_id):
                yield page

        async def links(self, job_id):
            if place == "links":
                await waits.for_ever()
            async for found in super().links(job_id):
                yield found

    if place == "full":
        # More pages than may wait for the store: those who bring them wait too.
        waits.begun = _WhenStill(site)

    payload = CrawlPayload(start_urls=[site.url("/")])
    assert await cancelled_after(waits, database, config, context, payload, Stuck(database.handle)) < 1


class _WhenStill:
    """Stands for an event: set once nothing more is asked of the site."""

    def __init__(self, site) -> None:
        self.site = site

    def set(self) -> None:
        pass

    async def wait(self) -> None:
        before = -1
        while before != (before := sum(self.site.hits.values())) or before < 50:
            await asyncio.sleep(0.3)
