"""What a crawl stored leaves when its job is gone, and not before."""

from __future__ import annotations

import pytest

from headrace.runtime.store import crawl_leftovers
from headrace.runtime.store.crawl_leftovers import CrawlLeftovers
from headrace.runtime.store.crawl_results import CrawlResults, StoredPage
from headrace.runtime.store.database import Database
from headrace.runtime.store.job_logs import JobLogs, LogBatch

CRAWL = ("crawl_texts", "crawl_links", "crawl_pages")


@pytest.fixture
async def database(config):
    database = Database(config, appname="test")
    yield database
    database.close()


@pytest.fixture
def leftovers(database):
    return CrawlLeftovers(database)


async def store(database, job_id, *, pages):
    await CrawlResults(database.handle).save(
        job_id,
        1,
        [
            StoredPage(url=f"http://e.org/{n}", state="ok", depth=0, text=f"text {n}", links=("http://e.org/",))
            for n in range(pages)
        ],
    )
    await JobLogs(database).append([LogBatch(job_id, 1, 1, [(1, 0.0, "stdout", "a line")], 1)])


async def test_jobs_with_results_are_listed_in_order_each_once(database, leftovers):
    for job_id in ("j2", "j1", "j3", "j4"):
        await store(database, job_id, pages=3)

    for name in CRAWL:
        assert await leftovers.jobs_after(name, "", limit=10) == ["j1", "j2", "j3", "j4"]
        assert await leftovers.jobs_after(name, "j1", limit=2) == ["j2", "j3"]
        assert await leftovers.jobs_after(name, "j4", limit=2) == []


async def test_a_job_whose_document_is_there_is_not_gone(database, leftovers):
    await database.jobs.insert_one({"_id": "there"})

    assert await leftovers.gone(["gone", "there"]) == ["gone"]


async def test_everything_of_one_job_is_removed_in_batches_pages_last(database, leftovers, monkeypatch):
    monkeypatch.setattr(crawl_leftovers, "BATCH", 2)
    await store(database, "job", pages=5)
    await store(database, "job2", pages=1)

    assert 6 <= await leftovers.remove("job", limit=6) < 6 + 2
    left = {
        name: await database.handle[name].count_documents({"_id": {"$gt": "job:", "$lt": "job;"}}) for name in CRAWL
    }
    assert left["crawl_texts"] == 0
    assert left["crawl_pages"] == 5
    while await leftovers.remove("job", limit=6):
        pass

    for name in CRAWL:
        (document,) = await database.handle[name].find({}).to_list(None)
        assert document["_id"].startswith("job2:")
