"""Crawl results leave after their job, and only then."""

from __future__ import annotations

import pytest
from recovery_stage import Stage

from headrace.contracts.errors import OutcomeUnknownError
from headrace.contracts.states import JobState
from headrace.recovery import crawl_data
from headrace.recovery.crawl_data import CrawlDataDuty
from headrace.runtime.store.crawl_leftovers import COLLECTIONS, CrawlLeftovers
from headrace.runtime.store.crawl_results import CrawlResults, StoredPage


async def store_pages(stage: Stage, job_id: str, count: int) -> None:
    pages = [
        StoredPage(url=f"http://e.org/{n}", state="ok", depth=0, text=f"text {n}", links=("http://e.org/",))
        for n in range(count)
    ]
    await CrawlResults(stage.parts.database.handle).save(job_id, 1, pages)


async def jobs_with_data(stage: Stage) -> set[str]:
    found: set[str] = set()
    for name in COLLECTIONS:
        found |= {document["_id"].partition(":")[0] async for document in stage.parts.database.handle[name].find({})}
    return found


async def test_pages_of_jobs_that_retention_removed_are_removed_and_no_others(stage: Stage) -> None:
    waiting, running = await stage.job(), await stage.running()
    over = await stage.job(state=JobState.COMPLETED)
    for job_id in (waiting.id, running.id, over.id, "0-gone", "z-gone"):
        await store_pages(stage, job_id, 4)

    assert await CrawlDataDuty(stage.parts).run_once() == {"crawl_data_removed": 2 * 3 * 4}

    assert await jobs_with_data(stage) == {waiting.id, running.id, over.id}
    assert await CrawlDataDuty(stage.parts).run_once() == {}


async def test_texts_and_links_without_a_page_are_found_too(stage: Stage) -> None:
    for name in ("crawl_texts", "crawl_links"):
        await stage.parts.database.handle[name].insert_one({"_id": f"gone-{name}:0"})

    assert await CrawlDataDuty(stage.parts).run_once() == {"crawl_data_removed": 2}


async def test_a_pass_is_bounded_and_the_rest_comes_with_the_next(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawl_data, "LOOKS", 2)
    monkeypatch.setattr(crawl_data, "MAX_REMOVED", 10)
    kept = await stage.job()
    await store_pages(stage, kept.id, 1)
    for number in range(5):
        await store_pages(stage, f"gone-{number}", 4)
    duty = CrawlDataDuty(stage.parts)

    removed = [(await duty.run_once())["crawl_data_removed"] for _ in range(12)]

    assert sum(removed) == 5 * 3 * 4
    assert max(removed) < 60
    assert await jobs_with_data(stage) == {kept.id}


async def test_a_removal_that_is_not_confirmed_is_made_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await store_pages(stage, "gone", 2)
    duty = CrawlDataDuty(stage.parts)

    async def unknown(*_: object, **__: object) -> int:
        raise OutcomeUnknownError("not confirmed")

    with monkeypatch.context() as patch:
        patch.setattr(CrawlLeftovers, "remove", unknown)
        assert await duty.run_once() == {}

    assert await duty.run_once() == {"crawl_data_removed": 6}
