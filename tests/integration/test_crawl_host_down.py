"""A host that stops answering parks its crawls without cost; when it is back they end as if nothing had been."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from whole import Whole

from headrace.testing.eventually import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

PAGES = 150


class Site:
    """A tree of pages, three links each, that may be cut off."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.is_down = False
        self.seconds = 0.0
        self.origin = ""

    async def answer(self, request: web.Request) -> web.Response:
        """One page after a moment, or no answer at all."""
        self.hits[request.path] += 1
        await asyncio.sleep(self.seconds)
        if self.is_down and request.transport is not None:
            request.transport.abort()
        if request.path == "/robots.txt":
            return web.Response(status=404)
        n = int(request.path[1:] or 0)
        links = [link for link in range(3 * n + 1, 3 * n + 4) if link < PAGES]
        return web.Response(text="".join(f'<a href="/{link}">x</a>' for link in links), content_type="text/html")


@pytest_asyncio.fixture(loop_scope="module")
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_get("/{tail:.*}", site.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield site
    await runner.cleanup()


async def get(whole: Whole, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{whole.system.urls['scheduler']}{path}") as answer:
        assert answer.status == 200
        return await answer.json()


async def stored(whole: Whole, job_id: str) -> set[tuple[str, str, int]]:
    return {(page.url, page.state, page.depth) async for page in whole.client.pages(job_id)}


async def test_a_host_that_stops_answering_parks_its_crawls_and_they_end_when_it_is_back(
    whole: Whole, site: Site
) -> None:
    payload = {"start_urls": [f"{site.origin}/"], "max_retries": 0}
    expected = {(f"{site.origin}/{n or ''}", "ok", depth) for n, depth in depths().items()}
    site.seconds = 0.05
    job = await whole.client.submit("crawl", payload)

    async def half() -> bool:
        return len(await stored(whole, job.id)) >= PAGES // 3

    await eventually(half, within=30, every=0.05)
    site.is_down, site.seconds = True, 0.0
    name = f"host:{site.origin.removeprefix('http://')}"

    async def parked() -> bool:
        found = await whole.document(job.id)
        assert (found["state"], found["failures"], found["log"][-1]["reason"]) == ("queued", 0, "released")
        return True

    await eventually(parked, within=40, every=0.1)
    (breaker,) = (await get(whole, "/v1/breakers"))["breakers"]
    assert (breaker["name"], breaker["state"], breaker["types"]) == (name, "open", ["crawl"])
    why = {reason["code"]: reason["detail"] for reason in (await get(whole, f"/v1/jobs/{job.id}/why"))["reasons"]}
    assert name in why["dependency-open"]

    other = await whole.client.submit("crawl", payload)  # parked before it has sent a single request

    async def held_up() -> bool:
        found = await whole.document(other.id)
        assert (found["state"], found["attempt"], found["failures"]) == ("queued", 1, 0), found["log"]
        return True

    site.hits.clear()
    await eventually(held_up, within=10, every=0.05)
    assert not site.hits

    before = {url for url, _, _ in await stored(whole, job.id)}
    site.is_down = False
    for each in (job, other):
        done = await whole.client.wait(each.id, timeout=60)
        assert (done.state, done.failures, done.crashes) == ("completed", 0, 0)
        assert await stored(whole, each.id) == expected
    twice = {f"{site.origin}{path}" for path, count in site.hits.items() if count > 1}
    assert not twice & before, "each crawl asked once for each page, and not again for what it had"
    assert (await get(whole, "/v1/breakers")) == {"breakers": []}
    await whole.assert_sound(job.id, other.id)


def depths() -> dict[int, int]:
    """Each page's depth in the tree."""
    found = {0: 0}
    for n in range(1, PAGES):
        found[n] = found[(n - 1) // 3] + 1
    return found
