"""A crawl of a real site with its worker killed twice and Redis emptied twice: the same pages, none fetched again."""

from __future__ import annotations

import asyncio

import pytest
from real_site import MAX_BYTES, RealSite, walk
from whole import Whole

from headrace.testing.eventually import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


async def stored_pages(whole: Whole, job_id: str) -> dict[str, int]:
    """The stored pages of the crawl with their depths, whatever became of them."""
    return {page.url: page.depth async for page in whole.client.pages(job_id)}


async def until_stored(whole: Whole, job_id: str, count: int) -> set[str]:
    """Wait until so many pages are stored, and return them."""

    async def probe() -> set[str]:
        pages = await stored_pages(whole, job_id)
        assert len(pages) >= count, len(pages)
        return set(pages)

    return await eventually(probe, within=60, every=0.1)


async def test_a_crawl_survives_kills_and_a_lost_redis(whole: Whole, real_site: RealSite) -> None:
    expected, others = walk(real_site.folder, real_site.start)
    total = len(expected) + len(others)
    real_site.seconds = 0.1  # slow enough to be hit in the middle
    job = await whole.client.submit("crawl", {"start_urls": [real_site.start], "max_bytes": MAX_BYTES})

    again: list[str] = []
    for at in (total // 6, total // 3):
        stored = await until_stored(whole, job.id, at)
        assert whole.kill_child("crawl")
        fetched_before = len(real_site.fetches)
        await until_stored(whole, job.id, len(stored) + 30)
        again += [url for url in real_site.fetches[fetched_before:] if url in stored]
    await until_stored(whole, job.id, total // 2)
    await whole.redis.flushall()
    await until_stored(whole, job.id, total * 2 // 3)
    await asyncio.to_thread(whole.system.redis.restart, keep_data=False)
    real_site.seconds = 0.0

    done = await whole.client.wait(job.id, timeout=60)
    assert (done.state, done.attempt) == ("completed", 3)
    assert again == [], "a stored page was fetched again"
    pages = await stored_pages(whole, job.id)
    assert {url: depth for url, depth in pages.items() if url in expected} == expected
    assert set(pages) == set(expected) | others
    assert isinstance(done.result, dict)
    assert done.result["pages"] == len(expected)
    await whole.assert_sound(job.id)
    await whole.until_redis_agrees("crawl")
