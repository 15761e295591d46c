"""Crawl pages in MongoDB: small, fenced, read in stretches."""

from __future__ import annotations

import pytest

from headrace.contracts.errors import LeaseLost, OutcomeUnknownError, StoreUnavailableError, ValidationFailedError
from headrace.runtime.store import crawl_results
from headrace.runtime.store.crawl_results import CrawlResults, StoredPage, url_hash
from headrace.runtime.store.database import Database


@pytest.fixture
async def database(config):
    database = Database(config, appname="test")
    yield database
    database.close()


@pytest.fixture
def results(database):
    return CrawlResults(database.handle)


def make_page(path="/", **fields) -> StoredPage:
    return StoredPage(**{"url": f"http://e.org{path}", "state": "ok", "depth": 0, "status": 200, "tries": 1} | fields)


async def listed(pages):
    return [page async for page in pages]


async def test_a_page_is_one_small_document_with_its_text_and_links_beside_it(database, results):
    page = make_page(
        title="$title",
        text="long text",
        links=("http://e.org/a", "http://x.org/"),
        found=("http://e.org/a",),
        bytes=99,
        encoding="utf-8",
    )

    await results.save("job", 3, [page, make_page("/same", text="long text")])

    document = await database.handle["crawl_pages"].find_one({"url": page.url})
    key = f"job:{url_hash(page.url).hex()}"
    at, text_hash = document.pop("at"), document.pop("text_hash")
    assert at.tzinfo is not None
    assert document == {
        "_id": key,
        "url": page.url,
        "state": "ok",
        "status": 200,
        "depth": 0,
        "tries": 1,
        "attempt": 3,
        "found": ["http://e.org/a"],
        "n_links": 2,
        "title": "$title",
        "encoding": "utf-8",
        "bytes": 99,
    }
    assert (await database.handle["crawl_links"].find_one({"_id": key}))["links"] == list(page.links)
    assert await database.handle["crawl_texts"].find({}).to_list(None) == [
        {"_id": f"job:{text_hash}", "text": "long text"}
    ]


async def test_saving_again_changes_nothing_and_a_newer_attempt_replaces(database, results):
    await results.save("job", 1, [make_page(title="old", links=("http://e.org/a",))])
    await results.save("job", 1, [make_page(title="old", links=("http://e.org/a",))])
    await results.save("job", 2, [make_page(error="late", links=("http://e.org/b",))])

    (document,) = await database.handle["crawl_pages"].find({}).to_list(None)
    assert (document["attempt"], document["error"], "title" in document) == (2, "late", False)
    assert [links async for links in results.links("job")] == [(0, ["http://e.org/b"])]


@pytest.mark.parametrize("links", [(), ("http://e.org/a",)])
async def test_an_older_attempt_never_overwrites_a_newer(database, results, links):
    await results.save("job", 2, [make_page(title="new", links=links)])

    with pytest.raises(LeaseLost):
        await results.save("job", 1, [make_page("/other"), make_page(title="old", links=links)])

    document = await database.handle["crawl_pages"].find_one({"url": "http://e.org/"})
    assert (document["attempt"], document["title"]) == (2, "new")


async def test_saving_nothing_asks_nobody(results):
    await results.save("job", 1, [])


async def test_a_resume_reads_every_page_of_its_own_job(results, monkeypatch):
    monkeypatch.setattr(crawl_results, "RESUME_BATCH", 3)
    pages = [make_page(f"/{n}", depth=n, found=(f"http://e.org/f{n}",), bytes=n) for n in range(7)]
    moved = make_page("/moved", state="duplicate", final_url="http://e.org/1", depth=2)
    failed = make_page("/failed", state="failed", error="http_404")
    await results.save("job", 1, [*pages, moved, failed])
    await results.save("job2", 1, [make_page("/elsewhere")])
    await results.save("jo", 1, [make_page("/elsewhere")])

    seen = {page.key: page for page in await listed(results.resume("job"))}

    assert set(seen) == {url_hash(page.url) for page in [*pages, moved, failed]}
    page = seen[url_hash("http://e.org/3")]
    assert (page.state, page.depth, page.found, page.final_url, page.bytes) == ("ok", 3, ("http://e.org/f3",), None, 3)
    assert seen[url_hash(moved.url)].final_url == "http://e.org/1"
    assert seen[url_hash(failed.url)].error == "http_404"
    assert await listed(results.resume("none")) == []


async def test_pages_are_listed_in_stretches_without_gap_or_repeat(results):
    await results.save("job", 1, [make_page(f"/{n}") for n in range(10)])

    found, cursor, calls = [], None, 0
    while True:
        pages, cursor = await results.pages("job", cursor, 4)
        found += [page.url for page in pages]
        calls += 1
        if cursor is None:
            break

    assert sorted(found) == [f"http://e.org/{n}" for n in range(10)]
    assert calls == 3
    assert await results.pages("none") == ([], None)


async def test_a_page_is_shown_as_the_api_promises(results):
    await results.save(
        "job",
        1,
        [make_page(title="T", bytes=5), make_page("/gone", state="failed", status=None, error="dns", tries=3)],
    )

    views = {page.url: page.model_dump() for page in (await results.pages("job"))[0]}

    assert views == {
        "http://e.org/": {
            "url": "http://e.org/",
            "final_url": "http://e.org/",
            "state": "ok",
            "status": 200,
            "depth": 0,
            "title": "T",
            "bytes": 5,
            "error": None,
        },
        "http://e.org/gone": {
            "url": "http://e.org/gone",
            "final_url": None,
            "state": "failed",
            "status": None,
            "depth": 0,
            "title": None,
            "bytes": 0,
            "error": "dns",
        },
    }


@pytest.mark.parametrize("cursor", ["", "xyz", "0" * 23, "0" * 25, "G" * 24, '{"$gt":""}'])
async def test_a_cursor_of_somebody_else_is_refused(results, cursor):
    with pytest.raises(ValidationFailedError) as refusal:
        await results.pages("job", cursor)

    assert refusal.value.errors[0].location == "query"


async def test_counts_are_by_state_with_the_bytes_of_good_pages(results):
    await results.save(
        "job",
        1,
        [
            make_page("/1", bytes=10),
            make_page("/2", bytes=5),
            make_page("/3", state="skipped", bytes=100),
            make_page("/4", state="failed"),
            make_page("/5", state="duplicate"),
        ],
    )

    assert await results.counts("job") == {"ok": 2, "failed": 1, "skipped": 1, "duplicate": 1, "bytes": 15}
    assert sum((await results.counts("none")).values()) == 0


async def test_there_is_no_second_index(database, results):
    await results.ensure_indexes()
    await results.save("job", 1, [make_page()])

    assert set(await database.handle["crawl_pages"].index_information()) == {"_id_"}


async def test_a_store_that_is_away_is_said_in_our_words(config, own_mongo, monkeypatch):
    for limit in ("READ_SECONDS", "WRITE_SECONDS", "SCAN_SECONDS"):
        monkeypatch.setattr(crawl_results, limit, 0.5)
    away = Database(config.model_copy(update={"mongo_url": type(config.mongo_url)(own_mongo.url)}), appname="test")
    results = CrawlResults(away.handle)
    await results.save("job", 1, [make_page()])
    own_mongo.kill()

    with pytest.raises(StoreUnavailableError):
        await results.save("job", 1, [make_page()])
    with pytest.raises(StoreUnavailableError):
        await results.pages("job")
    with pytest.raises(StoreUnavailableError):
        await listed(results.resume("job"))
    with pytest.raises(StoreUnavailableError):
        await results.counts("job")
    away.close()


async def test_other_refusals_of_the_server_are_ours_too(database, results):
    await database.handle.create_collection("crawl_pages", validator={"title": {"$exists": True}})

    with pytest.raises(StoreUnavailableError):
        await results.save("job", 1, [make_page()])


async def test_two_writes_of_one_page_that_meet_are_to_be_repeated(database, results):
    # Another writer's page between our look and our insert: the same key under a second unique rule stands in for it.
    await database.handle["crawl_pages"].create_index("url", unique=True)
    await results.save("job", 1, [make_page()])

    with pytest.raises(OutcomeUnknownError):
        await results.save("job3", 1, [make_page()])
