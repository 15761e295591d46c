"""The crawl job: stores, reports, stops at once, and goes on where it was killed."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from aiohttp import web

from headrace.contracts.errors import ConfigError, DependencyDown, JobCancelled, LeaseLost, StoreUnavailableError
from headrace.runtime.store.crawl_results import CrawlResults, StoredPage
from headrace.runtime.store.database import Database
from headrace.worker.crawler import hosts, writer
from headrace.worker.crawler.payload import CrawlPayload
from headrace.worker.executors import crawl as crawl_module
from headrace.worker.executors.crawl import CrawlJobExecutor
from headrace.worker.executors.noop import NoopExecutor, NoopPayload
from headrace.worker.resources import UsesResources, WorkerResources


@pytest.fixture
async def results(config):
    database = Database(config, appname="test")
    yield CrawlResults(database.handle)
    database.close()


@pytest.fixture
def make_executor(config, results):
    def make(store=None) -> CrawlJobExecutor:
        executor = CrawlJobExecutor()
        executor.use(WorkerResources(store or results, config.model_copy(update={"crawl_allow_private": True})))
        return executor

    return make


async def all_pages(results, job_id):
    found, cursor = [], None
    while True:
        pages, cursor = await results.pages(job_id, cursor, 50)
        found += pages
        if cursor is None:
            return found


def outcome(pages):
    return {(page.url, page.state, page.depth, page.error, page.final_url) for page in pages}


def build_site(site, *, size=60, seed=7):
    """Pages that link to each other at random, some of them moved, missing or forbidden."""
    rng = random.Random(seed)
    site.pages["/robots.txt"] = web.Response(text="User-agent: *\nDisallow: /p13$\n")
    paths = [f"/p{n}" for n in range(size)]
    site.page("/", links=paths[:5])
    for n, path in enumerate(paths):
        if n % 11 == 7:
            site.redirect(path, paths[(n * 3) % size])
        elif n % 17 != 9:
            site.page(path, f"text {n}", links=[*rng.sample(paths, 3), paths[min(n + 1, size - 1)]])
    return site.url("/")


async def test_a_crawl_is_stored_reported_and_counted(site, results, make_executor, make_context):
    start = build_site(site)
    context = make_context()

    result = await make_executor().execute(context, CrawlPayload(start_urls=[start]))

    pages = await all_pages(results, context.job_id)
    counts = await results.counts(context.job_id)
    assert result["stopped"] == "complete"
    assert result["seconds"] > 0
    assert (result["pages"], result["failed"], result["skipped"], result["duplicates"], result["bytes"]) == (
        counts["ok"],
        counts["failed"],
        counts["skipped"],
        counts["duplicate"],
        counts["bytes"],
    )
    assert min(counts.values()) > 0
    assert len(pages) == 61
    assert context.progress[-1] == (1.0, f"{counts['ok']} of {counts['ok']} pages")
    assert len(context.progress) >= 61 // 10 - 1
    assert set(context.checkpoints[0]) == {"pages", "bytes", "seconds"}
    assert context.checkpoints[0]["pages"] > 0


async def test_max_pages_stops_the_crawl_and_says_so(site, make_executor, make_context):
    start = build_site(site)
    context = make_context()

    result = await make_executor().execute(context, CrawlPayload(start_urls=[start], max_pages=10))

    assert (result["pages"], result["stopped"]) == (10, "max_pages")
    assert context.progress[-1] == (1.0, "10 of 10 pages")


@pytest.mark.parametrize("seed", range(6))
async def test_a_killed_crawl_goes_on_with_the_same_pages_and_depths(site, results, make_executor, make_context, seed):
    start = build_site(site)
    payload = CrawlPayload(start_urls=[start])
    await make_executor().execute(make_context("whole"), payload)
    expected = outcome(await all_pages(results, "whole"))
    site.hits.clear()
    rng = random.Random(seed)

    for attempt in range(1, 40):
        stored = {page.url for page in await all_pages(results, "killed")}
        before = dict(site.hits)
        # A new executor and no more memory than the store: what a killed process leaves.
        run = asyncio.create_task(make_executor().execute(make_context("killed", attempt), payload))
        done, _ = await asyncio.wait({run}, timeout=rng.uniform(0.01, 0.25) if attempt < 6 else 60)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        # What was sent to the store is applied there, cancelled or not; let it land.
        await asyncio.sleep(0.05)
        asked = {site.url(path) for path in site.hits if site.hits[path] > before.get(path, 0)}
        assert not asked & stored, "a stored page was asked for again"
        if done:
            break

    assert outcome(await all_pages(results, "killed")) == expected
    assert run.result()["pages"] == sum(1 for page in expected if page[1] == "ok")


async def test_a_finished_crawl_run_again_asks_for_nothing(site, make_executor, make_context):
    payload = CrawlPayload(start_urls=[build_site(site)])
    first = await make_executor().execute(make_context(), payload)
    site.hits.clear()

    second = await make_executor().execute(make_context(attempt=2), payload)

    assert not site.hits
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


async def test_a_url_that_only_a_lost_page_named_is_found_by_the_links(site, results, make_executor, make_context):
    site.page("/", links=["/a"])
    site.page("/a", links=["/b"])
    site.page("/b")
    # As if another page had named /b first, was lost, and does not name it any more.
    home, a = site.url("/"), site.url("/a")
    await results.save(
        "job-1",
        1,
        [
            StoredPage(url=home, state="ok", depth=0, found=(a,), links=(a,)),
            StoredPage(url=a, state="ok", depth=1, found=(), links=(site.url("/b"),)),
        ],
    )

    await make_executor().execute(make_context(attempt=2), CrawlPayload(start_urls=[home]))

    depths = {page.url: page.depth for page in await all_pages(results, "job-1")}
    assert depths == {home: 0, a: 1, site.url("/b"): 2}


async def test_a_cancel_ends_60_hanging_pages_within_a_second(site, make_executor, make_context):
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    site.page("/", links=[f"/{n}" for n in range(60)])
    for n in range(60):
        site.pages[f"/{n}"] = hang
    context = make_context()
    payload = CrawlPayload(start_urls=[site.url("/")], per_host_concurrency=64)
    run = asyncio.create_task(make_executor().execute(context, payload))
    while sum(site.hits.values()) < 62:
        await asyncio.sleep(0.02)

    context.cancelled = True
    asked = time.monotonic()
    with pytest.raises(JobCancelled):
        await run

    assert time.monotonic() - asked < 1


@pytest.mark.parametrize("way", ["flag", "task"])
async def test_a_cancel_does_not_wait_for_a_crawl_delay(site, make_executor, make_context, way):
    site.pages["/robots.txt"] = web.Response(text="User-agent: *\nCrawl-delay: 600\n")
    site.page("/", links=["/a"])
    context = make_context()
    run = asyncio.create_task(make_executor().execute(context, CrawlPayload(start_urls=[site.url("/")])))
    while not site.hits["/"]:
        await asyncio.sleep(0.02)

    context.cancelled = True
    if way == "task":
        run.cancel()
    asked = time.monotonic()
    with pytest.raises(JobCancelled if way == "flag" else asyncio.CancelledError):
        await run

    assert time.monotonic() - asked < 1


async def test_a_time_limit_is_raised_as_one(site, make_executor, make_context):
    site.page("/", links=["/a"])

    payload = CrawlPayload(start_urls=[site.url("/")], delay_seconds=60)

    async def limited():
        async with asyncio.timeout(0.5):
            await make_executor().execute(make_context(), payload)

    with pytest.raises(TimeoutError):
        await limited()


async def test_an_attempt_that_lost_its_job_stops(site, results, make_executor, make_context):
    start = build_site(site)
    await make_executor().execute(make_context(attempt=2), CrawlPayload(start_urls=[start], max_depth=0))

    class Forgetful(CrawlResults):
        """Does not see what the newer attempt stored, as a paused process would not."""

        async def resume(self, job_id):
            return
            yield

    old = Forgetful(results.database)
    with pytest.raises(LeaseLost):
        await make_executor(old).execute(make_context(attempt=1), CrawlPayload(start_urls=[start]))


async def test_the_context_names_the_reason_of_a_stop(site, make_executor, make_context):
    context = make_context()
    site.page("/", links=["/a"])

    async def lost(*_: object) -> None:
        raise LeaseLost("revoked")

    context.report_progress = lost
    context.cancelled = True
    with pytest.raises(LeaseLost):
        await make_executor().execute(context, CrawlPayload(start_urls=[site.url("/")], delay_seconds=60))


async def test_a_store_that_comes_back_loses_nothing(site, results, make_executor, make_context, monkeypatch):
    monkeypatch.setattr(writer, "BACK_OFF", writer.RetryPolicy(base_seconds=0.05, cap_seconds=0.1))

    class Flaky(CrawlResults):
        failures = 3

        async def save(self, *args):
            await super().save(*args)
            if self.failures:
                self.failures -= 1
                raise StoreUnavailableError("away")

    start = build_site(site)
    result = await make_executor(Flaky(results.database)).execute(make_context(), CrawlPayload(start_urls=[start]))

    assert result["stopped"] == "complete"
    assert len(await all_pages(results, "job-1")) == 61


async def test_progress_and_checkpoints_that_cannot_be_saved_do_not_end_the_crawl(site, make_executor, make_context):
    context = make_context()

    async def away(*_: object) -> None:
        raise StoreUnavailableError("away")

    context.report_progress = context.save_checkpoint = away
    result = await make_executor().execute(context, CrawlPayload(start_urls=[build_site(site)]))

    assert result["stopped"] == "complete"


async def test_a_store_that_stays_away_fails_the_attempt(site, results, make_executor, make_context, monkeypatch):
    monkeypatch.setattr(writer, "BACK_OFF", writer.RetryPolicy(base_seconds=0.01, cap_seconds=0.01))
    monkeypatch.setattr(writer, "GIVE_UP_SECONDS", 0.2)

    class Gone(CrawlResults):
        async def save(self, *_):
            raise StoreUnavailableError("away")

    with pytest.raises(StoreUnavailableError):
        await make_executor(Gone(results.database)).execute(make_context(), CrawlPayload(start_urls=[build_site(site)]))


async def test_seconds_add_up_over_attempts(site, make_executor, make_context):
    site.page("/")
    context = make_context()
    context.checkpoint = {"pages": 3, "bytes": 1, "seconds": 100.5}

    result = await make_executor().execute(context, CrawlPayload(start_urls=[site.url("/")]))

    assert 100.5 < result["seconds"] < 160


@pytest.mark.parametrize("parks", [0, crawl_module.MAX_PARKS - 1, crawl_module.MAX_PARKS])
async def test_a_silent_host_parks_the_crawl_for_a_while_and_then_its_pages_are_failures(
    site, results, make_executor, make_context, monkeypatch, parks
):
    monkeypatch.setattr(hosts, "FIRST_PAUSE_SECONDS", 0.0)
    site.page("/", links=[f"/{n}" for n in range(8)])
    context = make_context()
    context.checkpoint = {"pages": 0, "bytes": 0, "seconds": 1, "parks": parks}
    down = [site.url(f"/{n}") for n in range(8)]
    for url in down:
        site.pages[url.removeprefix(site.origin)] = web.Response(status=503)
    site.pages["/robots.txt"] = web.Response(status=503)
    payload = CrawlPayload(start_urls=[site.url("/"), *down], max_retries=0, respect_robots=False)
    run = make_executor().execute(context, payload)
    if parks < crawl_module.MAX_PARKS:
        with pytest.raises(DependencyDown):
            await run
        assert {page.url for page in await all_pages(results, context.job_id)} == {site.url("/")}
        assert context.checkpoint["parks"] == 1, "a page was new: counted anew"
        with pytest.raises(DependencyDown):
            await make_executor().execute(context, payload)
        assert context.checkpoint["parks"] == 2
        return
    assert (await run)["failed"] == len(down)


async def test_an_executor_without_a_store_says_so(make_context):
    with pytest.raises(ConfigError):
        await CrawlJobExecutor().execute(make_context(), CrawlPayload(start_urls=["http://example.org/"]))


def test_the_executors_declare_what_the_worker_needs():
    assert isinstance(CrawlJobExecutor(), UsesResources)
    assert not isinstance(NoopExecutor(), UsesResources)
    assert (CrawlJobExecutor.job_type, CrawlJobExecutor.policy.pool, CrawlJobExecutor.is_async()) == (
        "crawl",
        "crawl",
        True,
    )
    assert (NoopExecutor.job_type, NoopExecutor.policy.pool, NoopExecutor.is_async()) == ("noop", "default", False)
    assert crawl_module.CrawlJobExecutor.payload_model is CrawlPayload


def test_the_noop_job_returns_nothing(make_context):
    assert NoopExecutor().execute(make_context(), NoopPayload()) is None
