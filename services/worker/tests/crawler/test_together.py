"""Crawls that share one event loop leave it to each other, and to cancels."""

from __future__ import annotations

import asyncio
import time

import pytest

from headrace.contracts.errors import JobCancelled
from headrace.runtime.store.crawl_results import CrawlResults
from headrace.runtime.store.database import Database
from headrace.worker.crawler import visit
from headrace.worker.crawler.payload import CrawlPayload
from headrace.worker.crawler.turns import reading_turn
from headrace.worker.executors.crawl import CrawlJobExecutor
from headrace.worker.resources import WorkerResources


async def test_the_loop_looks_at_everything_else_between_two_pages():
    rounds, seen = 0, []

    async def count_rounds():
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async def read():
        async with reading_turn():
            seen.append(rounds)

    counting = asyncio.create_task(count_rounds())
    await asyncio.gather(*(read() for _ in range(80)))
    counting.cancel()

    assert len(set(seen)) == 80


async def test_a_reader_that_is_cancelled_or_fails_does_not_keep_the_turn():
    async def fail():
        async with reading_turn():
            raise RuntimeError

    async def wait():
        async with reading_turn():
            await asyncio.sleep(600)

    with pytest.raises(RuntimeError):
        await fail()
    waiting = [asyncio.create_task(wait()) for _ in range(2)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

    async with asyncio.timeout(1), reading_turn():
        pass


@pytest.mark.slow
async def test_ten_crawls_on_one_loop_end_and_a_cancel_takes_less_than_a_second(
    site, config, make_context, monkeypatch, record_property
):
    paths = [f"/p{n}" for n in range(80)]
    for path in ("/", *paths):
        site.page(path, "some words " * 500, links=paths)
    read = visit.read_page

    def takes_a_while(body, **rest):
        until = time.process_time() + 0.005
        while time.process_time() < until:
            pass
        return read(body, **rest)

    monkeypatch.setattr(visit, "read_page", takes_a_while)
    database = Database(config, appname="test")
    executor = CrawlJobExecutor()
    executor.use(
        WorkerResources(CrawlResults(database.handle), config.model_copy(update={"crawl_allow_private": True}))
    )
    contexts = [make_context(f"job-{n}") for n in range(10)]
    payload = CrawlPayload(start_urls=[site.url("/")])
    lags: list[float] = []

    async def watch():
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            lags.append(time.monotonic() - began - 0.01)

    watching = asyncio.create_task(watch())
    runs = [asyncio.create_task(executor.execute(context, payload)) for context in contexts]
    while sum(site.hits.values()) < 200:
        await asyncio.sleep(0.01)
    contexts[0].cancelled = True
    asked = time.monotonic()
    with pytest.raises(JobCancelled):
        await runs[0]
    took = time.monotonic() - asked
    results = await asyncio.gather(*runs[1:])
    watching.cancel()
    database.close()

    record_property("cancel_seconds", took)
    record_property("worst_lag_seconds", max(lags))
    assert took < 1
    assert [result["pages"] for result in results] == [81] * 9
    assert max(lags) < 1
