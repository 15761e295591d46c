"""A host that keeps failing parks the crawl; what failed because of it is asked again, and nothing else is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiohttp import web
from crawler_site import Site

from headrace.contracts.errors import DependencyDown
from headrace.runtime.store.crawl_results import SeenPage, StoredPage, url_hash
from headrace.worker.crawler import hosts
from headrace.worker.crawler.crawler import Crawler
from headrace.worker.crawler.hosts import ASKS, DOUBTS, name_of
from headrace.worker.crawler.payload import CrawlPayload
from headrace.worker.crawler.urls import host_of

OPENS_AT = 5


class Breakers:
    """`JobContext.dependency` in memory: failures in a row open it, and every entry is refused then."""

    def __init__(self, *, opens: bool = True) -> None:
        self.failures: Counter[str] = Counter()
        self.entered: Counter[str] = Counter()
        self._opens = opens

    def __call__(self, name: str) -> AbstractAsyncContextManager[None]:
        return self._use(name)

    @asynccontextmanager
    async def _use(self, name: str) -> AsyncIterator[None]:
        self.entered[name] += 1
        if self._opens and self.failures[name] >= OPENS_AT:
            raise DependencyDown(name, "its breaker is open")
        try:
            yield
        except Exception as error:
            self.failures[name] += 1
            if self._opens and self.failures[name] >= OPENS_AT:
                raise DependencyDown(name, str(error)) from error
            raise
        self.failures[name] = 0


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "FIRST_PAUSE_SECONDS", 0.0)


class Run:
    """Attempts of one crawl; what one has kept, the next remembers."""

    def __init__(self, breakers: Breakers, *start: str, **fields: object) -> None:
        self._breakers = breakers
        self._payload = CrawlPayload(start_urls=list(start), max_retries=0, **fields)
        self.kept: list[StoredPage] = []

    async def attempt(self, on_page: Callable[[StoredPage], None] = lambda _: None) -> str:
        async def keep(page: StoredPage) -> None:
            self.kept.append(page)
            on_page(page)

        crawler = Crawler(self._payload, keep=keep, allow_private=True, dependency=self._breakers)
        for page in self.kept:
            seen = {name: getattr(page, name) for name in ("state", "depth", "found", "bytes", "final_url", "error")}
            crawler.remember(SeenPage(key=url_hash(page.url), **seen))
        async with asyncio.timeout(30):
            return await crawler.crawl()

    def outcome(self) -> set[tuple[str, str, int, str | None]]:
        found = {(page.url, page.state, page.depth, page.error) for page in self.kept}
        assert len(found) == len(self.kept) == len({page.url for page in self.kept}), "nothing is kept twice"
        return found


def build(site: Site) -> str:
    """Three levels, with a redirect and a missing page."""
    site.page("/", links=[f"/a{n}" for n in range(12)])
    for n in range(12):
        site.page(f"/a{n}", links=[f"/b{n}", f"/b{n + 1}", "/missing"])
    for n in range(13):
        site.page(f"/b{n}", links=["/"])
    site.redirect("/b3", "/b9")
    return site.url("/")


@pytest.mark.parametrize("goes_down_at", [1, 4, 9, 16])
async def test_a_host_that_goes_down_parks_the_crawl_and_the_next_attempt_ends_as_if_nothing_had_been(
    site: Site, goes_down_at: int
) -> None:
    whole = Run(Breakers(), build(site))
    assert await whole.attempt() == "complete"
    breakers = Breakers()
    run = Run(breakers, site.url("/"))

    def go_down(_: StoredPage) -> None:
        site.is_down = site.is_down or len(run.kept) >= goes_down_at

    with pytest.raises(DependencyDown) as parked:
        await run.attempt(go_down)
    assert parked.value.name == name_of(host_of(site.url("/")))
    assert "connection" not in {page.error for page in run.kept}
    before = len(run.kept)

    with pytest.raises(DependencyDown):
        await run.attempt()
    assert len(run.kept) == before, "an open breaker costs no request"

    site.is_down = False
    breakers.failures.clear()
    site.hits.clear()
    assert await run.attempt() == "complete"
    assert run.outcome() == whole.outcome()
    again = {page.url for page in run.kept[:before]}
    assert not {path for path in site.hits if site.url(path) in again}, "a kept page was asked for again"


async def test_pages_that_fail_while_their_host_answers_are_failures_of_their_own(site: Site) -> None:
    """A whole section that is broken is no host that is down, and the crawl ends."""
    broken = [f"/broken{n}" for n in range(4 * DOUBTS)]
    site.page("/", links=[*broken, "/fine"])
    site.page("/fine")
    for path in broken:
        site.pages[path] = web.Response(status=500)
    breakers = Breakers()
    run = Run(breakers, site.url("/"))
    assert await run.attempt() == "complete"
    assert Counter(page.error for page in run.kept) == {None: 2, "http_500": len(broken)}
    assert 1 < site.hits["/robots.txt"] <= 1 + len(broken) // DOUBTS
    assert breakers.failures == {name_of(host_of(site.url("/"))): 0}


async def test_a_few_pages_that_fail_are_kept_as_failed_when_nothing_else_is_left(site: Site) -> None:
    site.page("/", links=[f"/{n}" for n in range(DOUBTS - 1)])
    for n in range(DOUBTS - 1):
        site.pages[f"/{n}"] = web.Response(status=503)
    run = Run(Breakers(), site.url("/"), per_host_concurrency=1)
    assert await run.attempt() == "complete"
    assert Counter(page.error for page in run.kept) == {None: 1, "http_503": DOUBTS - 1}
    assert site.hits["/robots.txt"] == 2, "the host is asked once for all of them"


async def test_an_answer_between_failures_counts_anew(site: Site) -> None:
    site.page("/", links=[f"/{n}" for n in range(3 * DOUBTS)])
    for n in range(3 * DOUBTS):
        if n % DOUBTS:
            site.pages[f"/{n}"] = web.Response(status=502)
        else:
            site.page(f"/{n}")
    run = Run(Breakers(), site.url("/"), per_host_concurrency=1)
    assert await run.attempt() == "complete"
    assert site.hits["/robots.txt"] == 2, "at the end, and not before"
    assert len(run.outcome()) == 1 + 3 * DOUBTS


async def test_a_crawl_of_a_dead_host_with_few_pages_ends_with_failures(site: Site) -> None:
    site.is_down = True
    run = Run(Breakers(), site.url("/"), respect_robots=False)
    assert await run.attempt() == "complete"
    assert [(page.state, page.error) for page in run.kept] == [("failed", "connection")]


async def test_the_probe_is_one_request_and_the_others_wait_for_it(site: Site) -> None:
    """Of a host whose breaker is open one request is let through; the crawl must not park itself over the others."""
    breakers = Breakers()
    starts = [site.url(f"/{n}") for n in range(9)]
    for n in range(9):
        site.page(f"/{n}")
    name = name_of(host_of(site.url("/")))

    async def slow(_: web.Request) -> web.Response:
        breakers.failures[name] = OPENS_AT  # whoever comes now is refused
        await asyncio.sleep(0.1)
        return web.Response(status=404)

    site.pages["/robots.txt"] = slow
    run = Run(breakers, *starts)
    assert await run.attempt() == "complete"
    assert breakers.entered == {name: 1}


@pytest.mark.parametrize("respect_robots", [True, False])
async def test_another_host_that_is_dead_costs_its_pages_and_nothing_more(
    site: Site, other_site: Site, respect_robots: bool
) -> None:
    other_site.is_down = True
    site.page("/", links=[other_site.url(f"/{n}") for n in range(2 * DOUBTS)])
    breakers = Breakers()
    run = Run(breakers, site.url("/"), same_host=False, respect_robots=respect_robots)
    assert await run.attempt() == "complete"
    assert Counter(page.error for page in run.kept) == {None: 1, "connection": 2 * DOUBTS}
    assert set(breakers.entered) == {name_of(host_of(site.url("/")))}


async def test_of_two_hosts_one_that_is_down_lets_the_other_finish_its_level(site: Site, other_site: Site) -> None:
    for each in (site, other_site):
        each.page("/", links=[f"/{n}" for n in range(8)])
        for n in range(8):
            each.page(f"/{n}", links=[f"/deep{n}"])
            each.page(f"/deep{n}")
    whole = Run(Breakers(), site.url("/"), other_site.url("/"))
    await whole.attempt()

    breakers = Breakers()
    run = Run(breakers, site.url("/"), other_site.url("/"))

    def go_down(page: StoredPage) -> None:
        other_site.is_down = other_site.is_down or page.url == other_site.url("/")

    with pytest.raises(DependencyDown):
        await run.attempt(go_down)
    here = [page for page in run.kept if page.url.startswith(site.origin)]
    assert Counter(page.depth for page in here) == {0: 1, 1: 8}, "the next level waits for both"
    other_site.is_down = False
    breakers.failures.clear()
    assert await run.attempt() == "complete"
    assert run.outcome() == whole.outcome()


async def test_a_breaker_that_cannot_be_opened_parks_all_the_same(site: Site) -> None:
    """MongoDB is away too: nobody can be told, and the crawl does not go on asking."""
    site.page("/", links=[f"/{n}" for n in range(2 * DOUBTS)])
    breakers = Breakers(opens=False)
    run = Run(breakers, site.url("/"))
    with pytest.raises(DependencyDown, match="connection"):
        await run.attempt(lambda _: setattr(site, "is_down", True))
    assert list(breakers.entered.values()) == [1 + ASKS]


async def test_max_pages_end_a_crawl_whatever_its_host_does_then(site: Site) -> None:
    site.page("/", links=[f"/{n}" for n in range(2 * DOUBTS)])
    run = Run(Breakers(), site.url("/"), max_pages=1)
    assert await run.attempt(lambda _: setattr(site, "is_down", True)) == "max_pages"


def test_a_host_is_a_dependency_with_a_name_of_its_own() -> None:
    assert name_of("example.org:8080") == "host:example.org:8080"
    assert len(name_of("x" * 253)) == 200
