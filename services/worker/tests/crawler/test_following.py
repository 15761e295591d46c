"""Which URLs a crawl reaches, once each, and at which depth."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web


def states(pages):
    return {path: page.state for path, page in pages.items()}


async def test_every_linked_page_is_kept_once_with_its_least_depth(site, crawl):
    site.page("/", links=["/a", "/b", "/a", "#top"])
    site.page("/a", links=["/c", "/"])
    site.page("/b", links=["/a", "/c#part"])
    site.page("/c", links=["/d"])
    site.page("/d")

    pages = await crawl()

    assert {path: page.depth for path, page in pages.items()} == {"/": 0, "/a": 1, "/b": 1, "/c": 2, "/d": 3}
    assert all(site.hits[path] == 1 for path in pages)
    assert pages["/"].title == "/"
    assert pages["/"].found == (site.url("/a"), site.url("/b"))
    assert site.agents == {"headrace-crawler/0.1"}


async def test_a_slow_short_way_still_gives_the_least_depth(site, crawl):
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response(text='<a href="/end">x</a>', content_type="text/html")

    site.page("/", links=["/fast1", "/slow"])
    site.page("/fast1", links=["/fast2"])
    site.page("/fast2", links=["/end"])
    site.pages["/slow"] = slow
    site.page("/end")

    assert (await crawl())["/end"].depth == 2


async def test_other_hosts_and_other_ports_are_out_of_scope(site, other_site, crawl):
    other_site.page("/x")
    site.page(
        "/", links=[other_site.url("/x"), "http://example.invalid/", "mailto:a@example.org", "javascript:void(0)"]
    )

    assert set(await crawl()) == {"/"}
    assert not other_site.hits


async def test_without_same_host_other_hosts_are_crawled_too(site, other_site, crawl):
    other_site.page("/x")
    site.page("/", links=[other_site.url("/x")])

    assert states(await crawl(same_host=False)) == {"/": "ok", other_site.url("/x"): "ok"}


async def test_patterns_must_match_the_whole_url_and_spare_start_urls(site, crawl):
    site.page("/", links=["/docs/a", "/docs/a.old", "/blog/a"])
    for path in ("/docs/a", "/docs/a.old", "/blog/a"):
        site.page(path)

    assert set(await crawl(include=[r".*/docs/.*"], exclude=[r".*\.old"])) == {"/", "/docs/a"}


async def test_depth_0_takes_the_start_urls_alone_and_a_redirect_is_no_link(site, crawl):
    site.redirect("/", "/home")
    site.page("/home", links=["/a"])

    pages = await crawl(max_depth=0)

    assert states(pages) == {"/": "duplicate", "/home": "ok"}
    assert pages["/home"].depth == 0


@pytest.mark.parametrize("limit", [1, 5, 12])
async def test_max_pages_is_never_passed_and_failures_do_not_count(site, crawl, limit):
    site.page("/", links=[f"/p{n}" for n in range(20)] + ["/missing"])
    for n in range(20):
        site.page(f"/p{n}")

    pages = await crawl(max_pages=limit)

    assert sum(page.state == "ok" for page in pages.values()) == limit


async def test_a_redirect_into_a_page_is_a_duplicate_of_it(site, crawl):
    site.page("/", links=["/a", "/old", "/older"])
    site.page("/a", links=["/"])
    site.redirect("/old", "/a", 301)
    site.redirect("/older", "/old", 308)

    pages = await crawl()

    assert states(pages) == {"/": "ok", "/a": "ok", "/old": "duplicate", "/older": "duplicate"}
    assert pages["/older"].final_url == site.url("/a")
    assert pages["/older"].status == 308
    assert site.hits["/a"] == 1


async def test_a_redirect_lifts_its_target_to_its_own_depth(site, crawl):
    site.page("/", links=["/first", "/moved"])
    site.page("/first", links=["/target"])
    site.redirect("/moved", "/target")
    site.page("/target")

    assert (await crawl())["/target"].depth == 1


@pytest.mark.parametrize("starts", [("/a",), ("/b",), ("/a", "/b", "/into")])
async def test_redirect_loops_are_recorded_as_failed(site, crawl, starts):
    site.redirect("/a", "/b")
    site.redirect("/b", "/a")
    site.redirect("/into", "/a")
    site.redirect("/self", "/self")

    pages = await crawl(*starts, "/self")

    assert {(page.state, page.error) for page in pages.values()} == {("failed", "redirect_loop")}
    assert pages["/a"].final_url == site.url("/b")
    assert pages["/b"].final_url == site.url("/a")


async def test_an_endless_chain_of_redirects_ends_at_the_limit(site, crawl):
    for n in range(30):
        site.redirect(f"/r{n}", f"/r{n + 1}")

    pages = await crawl("/r0")

    assert len(pages) == 11
    assert {page.error for page in pages.values()} == {"redirect_limit"}


async def test_redirects_that_lead_nowhere_say_why(site, other_site, crawl):
    site.redirect("/out", other_site.url("/x"))
    site.redirect("/bad", "http://[broken/")
    site.pages["/none"] = web.Response(status=302)
    site.redirect("/to-missing", "/missing")

    pages = await crawl("/out", "/bad", "/none", "/to-missing")

    assert {path: (page.state, page.error) for path, page in pages.items()} == {
        "/out": ("skipped", "redirect_out_of_scope"),
        "/bad": ("failed", "bad_redirect"),
        "/none": ("failed", "bad_redirect"),
        "/to-missing": ("failed", "http_404"),
        "/missing": ("failed", "http_404"),
    }
    assert not other_site.hits


async def test_base_fragments_query_order_and_foreign_letters_reach_the_right_pages(site, crawl):
    site.page(
        "/", head='<base href="/sub/">', links=["page#a", "page#b", "?b=2&a=1", "/CaSe", "/caf\u00e9", "/a/../dots"]
    )
    for path in ("/sub/page", "/sub/?b=2&a=1", "/CaSe", "/caf%C3%A9", "/dots"):
        site.page(path)

    assert states(await crawl()) == dict.fromkeys(
        ["/", "/sub/page", "/sub/?b=2&a=1", "/CaSe", "/caf%C3%A9", "/dots"], "ok"
    )


async def test_a_query_is_sent_in_the_encoding_of_its_page(site, crawl):
    site.pages["/"] = '<meta charset="iso-8859-1"><a href="/?q=caf\u00e9">x</a>'.encode("latin-1")
    site.page("/?q=caf%E9")

    assert (await crawl())["/?q=caf%E9"].state == "ok"
