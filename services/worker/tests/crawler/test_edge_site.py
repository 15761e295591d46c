"""The contract of any crawl engine: one site with every oddity, crawled once, and what must have become of each URL."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from dataclasses import dataclass

import pytest
from crawler_edge_site import BLOCKED, DELAY_SECONDS, HOPS, MAX_BYTES, STATES, TIMEOUT_SECONDS, build
from crawler_site import Site

from headrace.runtime.store.crawl_results import StoredPage
from headrace.worker.crawler import retrying
from headrace.worker.crawler.crawler import Crawler
from headrace.worker.crawler.payload import CrawlPayload


@dataclass
class Crawled:
    """What the crawl kept, and what the site saw of it."""

    pages: dict[str, StoredPage]
    site: Site
    peak_bytes: int
    secrets: list[str]


async def crawl_it() -> Crawled:
    """Crawl the site once."""
    site, kept, secrets = Site(), {}, []
    await site.start()
    build(site, secrets)

    async def keep(page: StoredPage) -> None:
        path = page.url.removeprefix(site.origin)
        assert path not in kept, f"{path} was kept twice"
        kept[path] = page

    payload = CrawlPayload(
        start_urls=[site.url("/#top")],
        same_host=False,
        user_agent="edge-bot/1.0 (+http://example.org/bot)",
        max_bytes=MAX_BYTES,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    tracemalloc.start()
    try:
        async with asyncio.timeout(120):
            await Crawler(payload, keep=keep, allow_private=True).crawl()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        await site.stop()
    return Crawled(kept, site, peak, secrets)


@pytest.fixture(scope="module")
def crawled(tmp_path_factory):
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        # Nothing of this may be used: a request through it would fail.
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")
            patch.setenv(name.lower(), "http://127.0.0.1:9")
        patch.setenv("NETRC", str(netrc))
        patch.setattr(retrying, "BACK_OFF", retrying.RetryPolicy(base_seconds=0.01, cap_seconds=0.02))
        return asyncio.run(crawl_it())


def test_every_url_is_kept_once_in_the_right_state_and_no_other(crawled):
    assert {path: (page.state, page.error) for path, page in crawled.pages.items()} == STATES


def test_depths_count_links_and_not_redirects(crawled):
    deeper = {"/base/there/page", "/behind-noindex"}

    assert {path: page.depth for path, page in crawled.pages.items()} == {
        path: 0 if path == "/" else 2 if path in deeper else 1 for path in STATES
    }


def test_what_must_not_be_asked_is_not(crawled):
    forbidden = [path for path in crawled.site.hits if path.startswith(("/forbidden", "/never", "/x/"))]

    assert forbidden == []
    assert crawled.site.hits["/any.secret"] == 0
    assert crawled.site.hits[f"/hop/{HOPS - 1}"] == 0
    assert crawled.site.hits["/robots.txt"] == 1


@pytest.mark.parametrize("name", ["header", "mark", "mark16", "meta", "bogus"])
def test_a_charset_is_taken_from_mark_header_meta_or_bytes(crawled, name):
    assert crawled.pages[f"/charset/{name}"].text == "café"


def test_a_wrong_charset_costs_the_letter_alone(crawled):
    page = crawled.pages["/charset/wrong"]

    assert page.text == "caf\N{REPLACEMENT CHARACTER} x"
    assert page.links == (crawled.site.url("/case"),)


def test_pages_are_tried_again_as_often_as_that_can_help(crawled):
    tries = {path: crawled.pages[path].tries for path in ("/busy", "/flaky", "/broken", "/gone", "/hangs-once")}

    assert tries == {"/busy": 2, "/flaky": 2, "/broken": 3, "/gone": 1, "/hangs-once": 2}
    assert crawled.site.hits["/resets-once"] >= 2
    assert all(crawled.pages[url].tries <= 1 for url in BLOCKED), "never on a blocked address"


def test_retry_after_holds_the_page_back(crawled):
    first, second = (at for path, at in crawled.site.asked_at if path == "/busy")

    assert second - first >= 0.99


def test_a_fraction_of_a_crawl_delay_is_neither_dropped_nor_rounded_up(crawled):
    asked = [at for path, at in crawled.site.asked_at if path != "/robots.txt"]

    assert asked[-1] - asked[0] >= DELAY_SECONDS * (len(asked) - 1) - 0.05
    assert sorted(b - a for a, b in itertools.pairwise(asked))[len(asked) // 2] < 1


def test_redirects_name_where_they_end(crawled):
    ends = {path: crawled.pages[path].final_url for path in ("/into-seen", "/moved", "/to-forbidden", "/to-inside")}

    assert ends == {
        "/into-seen": crawled.site.url("/case"),
        "/moved": crawled.site.url("/new-place"),
        "/to-forbidden": crawled.site.url("/forbidden/target"),
        "/to-inside": "http://169.254.169.254/latest/meta-data/",
    }


def test_neither_cookies_nor_credentials_nor_proxies_are_used(crawled):
    assert crawled.secrets == []
    assert crawled.site.agents == {"edge-bot/1.0 (+http://example.org/bot)"}


def test_the_bomb_and_the_endless_page_stay_small(crawled):
    assert crawled.peak_bytes < 16_000_000
