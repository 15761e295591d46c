"""Crawls whose worker is killed at seeded moments end as one that ran through: the same URLs, states and depths."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web
from whole import Whole

from headrace.testing.eventually import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

PAGES = 400
KILLS = 2


class TangledSite:
    """Pages that link to each other at random, so that the shortest ways matter; some moved, missing or forbidden."""

    def __init__(self, seed: int) -> None:
        self.hits: Counter[str] = Counter()
        self.origin = ""
        self.seconds = 0.0
        self.rng = random.Random(seed)
        self.paths = [f"/p{n}" for n in range(PAGES)]
        self.links = {
            path: [*self.rng.sample(self.paths, 2), self.paths[min(n + 1, PAGES - 1)]]
            for n, path in enumerate(self.paths)
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One page, after a moment."""
        path = request.path
        self.hits[path] += 1
        if path == "/robots.txt":
            return web.Response(text="User-agent: *\nDisallow: /p13$\n")
        await asyncio.sleep(self.seconds)
        n = int(path[2:] or 0)
        if n % 11 == 7:
            return web.Response(status=302, headers={"Location": self.paths[n * 3 % PAGES]})
        if n % 17 == 9:
            return web.Response(status=404)
        links = self.paths[:3] if path == "/" else self.links[path]
        return web.Response(text="".join(f'<a href="{link}">x</a>' for link in links), content_type="text/html")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[TangledSite]:
    site = TangledSite(seed=20)
    app = web.Application()
    app.router.add_get("/{tail:.*}", site.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield site
    await runner.cleanup()


Page = tuple[str, str, int, str | None, str | None]


async def stored(whole: Whole, job_id: str) -> set[Page]:
    """What the crawl stored, without what may differ between two runs."""
    return {(page.url, page.state, page.depth, page.error, page.final_url) async for page in whole.client.pages(job_id)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def uninterrupted(whole: Whole, site: TangledSite) -> set[Page]:
    """The same crawl without a fault."""
    job = await whole.client.submit("crawl", {"start_urls": [f"{site.origin}/"]})
    done = await whole.client.wait(job.id, timeout=60)
    assert (done.state, done.attempt) == ("completed", 1)
    pages = await stored(whole, job.id)
    assert len(pages) > PAGES * 0.9
    assert {state for _, state, *_ in pages} == {"ok", "failed", "skipped", "duplicate"}
    return pages


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_crawl_killed_at_seeded_moments_equals_one_that_ran_through(
    whole: Whole, site: TangledSite, uninterrupted: set[Page], seed: int
) -> None:
    rng = random.Random(seed)
    site.seconds = 0.12  # slow enough to be hit in the middle
    # A third crash would end as a dead letter: that is `JOB_MAX_CRASHES`.
    moments = sorted(rng.sample(range(1, int(len(uninterrupted) * 0.6)), KILLS))
    job = await whole.client.submit("crawl", {"start_urls": [f"{site.origin}/"]})
    again: list[str] = []
    for moment in moments:

        async def reached(count: int = moment) -> bool:
            return len(await stored(whole, job.id)) >= count

        await eventually(reached, within=60, every=0.02)
        # Not at the beat of the writes, but anywhere between two of them.
        await asyncio.sleep(rng.uniform(0, 0.5))
        assert whole.kill_child("crawl")
        # A write that was on its way may land after the kill.
        await asyncio.sleep(0.2)
        before = {url.removeprefix(site.origin) for url, *_ in await stored(whole, job.id)}
        hits = dict(site.hits)

        async def goes_on(known: int = len(before)) -> bool:
            return len(await stored(whole, job.id)) > known or await whole.state(job.id) == "completed"

        await eventually(goes_on, within=60, every=0.05)
        again += [path for path in before if site.hits[path] > hits.get(path, 0)]

    site.seconds = 0.0
    done = await whole.client.wait(job.id, timeout=60)

    assert done.state == "completed"
    assert done.attempt == 1 + len(moments)
    assert again == [], "a stored page was fetched again"
    assert await stored(whole, job.id) == uninterrupted
    assert isinstance(done.result, dict)
    assert done.result["pages"] == sum(1 for _, state, *_ in uninterrupted if state == "ok")
    await whole.assert_sound(job.id)
