"""The crawler does what a site asks of robots."""

from __future__ import annotations

import asyncio
import gzip
import threading
import tracemalloc

import pytest
from aiohttp import web

from headrace.worker.crawler import retrying, robots
from headrace.worker.crawler.fetch import Answer
from headrace.worker.crawler.retrying import Tried
from headrace.worker.crawler.robots import RobotsCache


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(retrying, "BACK_OFF", retrying.RetryPolicy(base_seconds=0.01, cap_seconds=0.02))


def text(body: str) -> web.Response:
    return web.Response(text=body)


async def test_disallowed_urls_are_skipped_and_never_asked(site, crawl):
    site.pages["/robots.txt"] = text("User-agent: *\nDisallow: /private\n")
    site.page("/", links=["/private/a", "/open"])
    site.page("/private/a")
    site.page("/open")

    pages = await crawl()

    assert (pages["/private/a"].state, pages["/private/a"].error) == ("skipped", "robots")
    assert pages["/open"].state == "ok"
    assert not site.hits["/private/a"]
    assert site.hits["/robots.txt"] == 1


async def test_the_group_of_our_own_name_counts_before_the_one_for_all(site, crawl):
    site.pages["/robots.txt"] = text("User-agent: *\nDisallow: /\n\nUser-agent: Headrace-Crawler\nDisallow: /b\n")
    site.page("/", links=["/b"])
    site.page("/b")

    assert {path: page.state for path, page in (await crawl()).items()} == {"/": "ok", "/b": "skipped"}
    assert {page.state for page in (await crawl(user_agent="other/1")).values()} == {"skipped"}


async def test_a_redirect_target_is_checked_again(site, crawl):
    site.pages["/robots.txt"] = text("User-agent: *\nDisallow: /private\n")
    site.redirect("/", "/private")
    site.page("/private")

    pages = await crawl()

    assert {(page.state, page.error) for page in pages.values()} == {("skipped", "robots")}
    assert not site.hits["/private"]


async def test_without_respect_robots_nothing_is_asked_for(site, crawl):
    site.pages["/robots.txt"] = text("User-agent: *\nDisallow: /\n")
    site.page("/", links=["/a"], head='<meta name="robots" content="none">')
    site.page("/a")

    assert {page.state for page in (await crawl(respect_robots=False)).values()} == {"ok"}
    assert not site.hits["/robots.txt"]


async def test_an_absent_robots_txt_allows_everything(site, crawl):
    site.page("/")

    assert (await crawl())["/"].state == "ok"


async def test_a_robots_txt_that_cannot_be_had_forbids_everything(site, crawl):
    site.pages["/robots.txt"] = web.Response(status=503)
    site.page("/")

    page = (await crawl(max_retries=0))["/"]

    assert (page.state, page.error) == ("failed", "robots_unreachable")
    assert not site.hits["/"]


async def test_a_robots_txt_behind_redirects_is_found(site, crawl):
    site.redirect("/robots.txt", "/r/robots.txt")
    site.pages["/r/robots.txt"] = text("User-agent: *\nDisallow: /a\n")
    site.page("/", links=["/a"])

    assert (await crawl())["/a"].error == "robots"


@pytest.mark.parametrize("location", ["/robots.txt", "http://[bad/"])
async def test_a_robots_txt_redirected_without_end_counts_as_absent(site, crawl, location):
    site.redirect("/robots.txt", location)
    site.page("/")

    assert (await crawl())["/"].state == "ok"


async def test_a_fraction_of_a_crawl_delay_is_kept_between_requests(site, crawl):
    site.pages["/robots.txt"] = text("User-agent: *\nCrawl-delay: 0.2\n")
    site.page("/", links=[f"/{n}" for n in range(4)])

    await crawl()

    times = [at for path, at in site.asked_at if path != "/robots.txt"]
    assert len(times) == 5
    # The server may see the first request late, never the last one early.
    assert times[-1] - times[0] >= 3 * 0.2


async def test_the_longer_delay_counts(site, crawl):
    site.pages["/robots.txt"] = text("User-agent: *\nCrawl-delay: 0.01\n")
    site.page("/", links=["/a"])

    await crawl(delay_seconds=0.5)

    times = [at for path, at in site.asked_at if path != "/robots.txt"]
    assert times[1] - times[0] >= 0.3


async def test_links_that_must_not_be_followed_are_not(site, crawl):
    site.pages["/"] = '<a href="/a" rel="nofollow noopener">x</a><a href="/b">x</a><a href="/c">x</a>'
    site.page("/b", links=["/from-b"], head='<meta name="ROBOTS" content="NoFollow">')
    site.pages["/c"] = web.Response(
        text='<a href="/from-c">x</a>', content_type="text/html", headers={"X-Robots-Tag": "headrace-crawler: nofollow"}
    )

    assert set(await crawl()) == {"/", "/b", "/c"}


async def test_a_page_that_must_not_be_indexed_is_skipped_but_followed(site, crawl):
    site.page("/", links=["/a"], head='<meta name="robots" content="noindex">')
    site.page("/a")

    pages = await crawl()

    assert (pages["/"].state, pages["/"].error, pages["/"].text) == ("skipped", "noindex", None)
    assert pages["/a"].state == "ok"


async def test_no_more_requests_are_open_at_one_host_than_allowed(site, crawl):
    open_now, most = 0, 0

    async def counted(_: web.Request) -> web.Response:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.02)
        open_now -= 1
        return web.Response(text="x", content_type="text/html")

    site.page("/", links=[f"/{n}" for n in range(20)])
    for n in range(20):
        site.pages[f"/{n}"] = counted

    await crawl(per_host_concurrency=3)

    assert most == 3


async def test_a_robots_txt_that_is_a_bomb_is_cut_and_stays_small(site, crawl):
    packed = gzip.compress(b"User-agent: *\nDisallow: /private\n" + b"\n" * 60_000_000)
    site.pages["/robots.txt"] = web.Response(body=packed, headers={"Content-Encoding": "gzip"})
    site.page("/", links=["/private"])

    tracemalloc.start()
    try:
        pages = await crawl()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert {path: page.error for path, page in pages.items()} == {"/": None, "/private": "robots"}
    assert peak < 24_000_000


async def test_a_large_robots_txt_is_parsed_off_the_loop(site, crawl, monkeypatch):
    threads = []
    judge = robots._judge

    def noted(answer):
        threads.append(threading.current_thread())
        return judge(answer)

    monkeypatch.setattr(robots, "_judge", noted)
    rules = "".join(f"Disallow: /private/{n}\n" for n in range(3000))
    site.pages["/robots.txt"] = text("User-agent: *\n" + rules)
    site.page("/")

    assert (await crawl())["/"].state == "ok"
    assert threads
    assert threading.main_thread() not in threads


class OneAnswer:
    """In place of `Retrying`: the same rules for every origin."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def get(self, url, **_):
        self.asked.append(url)
        body = b"User-agent: *\nDisallow: /private\n"
        return Tried(Answer(200, "text/plain", body, None, None, "", wanted=True), 1)


async def test_rules_of_many_origins_stay_within_their_memory(monkeypatch):
    monkeypatch.setattr(robots, "MAX_KEPT_BYTES", 100_000)
    retrying = OneAnswer()
    cache = RobotsCache(retrying)

    for n in range(500):
        await cache.rules_for("http://home.example/")
        assert not (await cache.rules_for(f"http://h{n}.example/")).allows("http://x/private", "us")

    assert len(cache._entries) <= 100_000 // 3000
    assert retrying.asked.count("http://home.example/robots.txt") == 1, "what is needed again and again stays"
    await cache.rules_for("http://h0.example/")
    assert retrying.asked.count("http://h0.example/robots.txt") == 2
