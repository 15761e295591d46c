"""What a crawl makes of the answers of a site."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import threading
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from headrace.worker.crawler import retrying
from headrace.worker.crawler.retrying import retry_after_seconds


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(retrying, "BACK_OFF", retrying.RetryPolicy(base_seconds=0.01, cap_seconds=0.02))


def sequence(*replies):
    """A handler that answers with one after the other, then with the last for ever."""
    left = list(replies)

    async def answer(_: web.Request) -> web.Response:
        reply = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)

    return answer


OK = web.Response(text="fine", content_type="text/html")


async def test_client_errors_are_not_tried_again(site, crawl):
    page = (await crawl("/missing"))["/missing"]

    assert (page.state, page.status, page.error, page.tries) == ("failed", 404, "http_404", 1)


async def test_a_500_is_tried_again(site, crawl):
    site.pages["/"] = sequence(web.Response(status=500), web.Response(status=503), OK)

    page = (await crawl())["/"]

    assert (page.state, page.tries) == ("ok", 3)


async def test_a_500_that_stays_is_stored_with_its_tries(site, crawl):
    site.pages["/"] = web.Response(status=502)

    page = (await crawl(max_retries=1))["/"]

    assert (page.state, page.error, page.tries) == ("failed", "http_502", 2)


async def test_retry_after_is_waited_for_by_the_whole_host(site, crawl):
    site.page("/", links=["/busy", "/next"])
    site.pages["/busy"] = sequence(web.Response(status=429, headers={"Retry-After": "1"}), OK)
    site.page("/next")

    pages = await crawl(per_host_concurrency=1)

    times = dict(site.asked_at)
    first = next(at for path, at in site.asked_at if path == "/busy")
    assert times["/busy"] - first >= 0.99
    assert {page.state for page in pages.values()} == {"ok"}


async def test_a_retry_after_beyond_patience_ends_the_tries(site, crawl):
    site.pages["/"] = web.Response(status=503, headers={"Retry-After": "9999"})

    assert (await crawl())["/"].tries == 1


@pytest.mark.parametrize("body", ["headers", "body"])
async def test_a_page_that_hangs_times_out(site, crawl, body):
    async def hang(request: web.Request) -> web.StreamResponse:
        if body == "body":
            response = web.StreamResponse(headers={"Content-Type": "text/html"})
            await response.prepare(request)
            await response.write(b"<p>begin")
        await asyncio.sleep(30)
        return web.Response()

    site.pages["/"] = hang

    page = (await crawl(timeout_seconds=0.2, max_retries=1))["/"]

    assert (page.state, page.error, page.tries) == ("failed", "timeout", 2)


async def test_a_connection_that_breaks_is_tried_again(site, crawl):
    broken = []

    async def breaks(request: web.Request) -> web.StreamResponse:
        if len(broken) < 2:
            broken.append(1)
            assert request.transport is not None
            request.transport.abort()
        return fine()

    def fine():
        return web.Response(text="fine", content_type="text/html")

    site.pages["/"] = breaks

    page = (await crawl())["/"]

    # The client itself repeats a request once if the connection was kept from an earlier one.
    assert page.state == "ok"
    assert page.tries >= 2


async def test_a_host_that_does_not_answer_fails_its_pages(crawl, site):
    origin = site.origin
    await site.stop()
    try:
        page = (await crawl("/", max_retries=0))["/"]
    finally:
        await site.start()

    assert (page.state, page.error) == ("failed", "connection"), origin


async def test_a_name_that_does_not_resolve_fails_its_page(site, crawl):
    pages = await crawl("http://nowhere.invalid/", max_retries=0)

    assert [(page.state, page.error) for page in pages.values()] == [("failed", "dns")]


async def test_what_is_no_html_is_skipped_unread(site, crawl):
    site.page("/", links=["/image", "/text", "/bare", "/bare-html"])
    site.pages["/image"] = web.Response(body=b"x" * 5_000_000, headers={"Content-Type": "image/png"})
    site.pages["/text"] = web.Response(text="plain")

    async def untyped(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.headers["Content-Type"] = ""
        await response.prepare(request)
        await response.write(b"  <html>" if "html" in request.path else b"{}")
        return response

    site.pages["/bare"] = site.pages["/bare-html"] = untyped

    pages = await crawl()

    assert {path: (page.state, page.error) for path, page in pages.items()} == {
        "/": ("ok", None),
        "/image": ("skipped", "content_type"),
        "/text": ("skipped", "content_type"),
        "/bare": ("skipped", "content_type"),
        "/bare-html": ("ok", None),
    }


async def test_a_gzip_bomb_is_skipped_and_stays_small(site, crawl):
    packed = gzip.compress(b"<p>" + b"\0" * 60_000_000)
    site.pages["/"] = web.Response(body=packed, headers={"Content-Type": "text/html", "Content-Encoding": "gzip"})

    tracemalloc.start()
    try:
        page = (await crawl())["/"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (page.state, page.error) == ("skipped", "too_large")
    assert peak < 16_000_000


async def test_the_limit_counts_unpacked_bytes(site, crawl):
    html = b"<p>" + b"word " * 2000
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    site.pages["/"] = web.Response(body=gzip.compress(html), headers=headers)

    assert (await crawl(max_bytes=len(html)))["/"].bytes == len(html)
    assert (await crawl(max_bytes=len(html) - 1))["/"].error == "too_large"


async def test_broken_compression_fails_the_page(site, crawl):
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    site.pages["/"] = web.Response(body=b"not gzip at all", headers=headers)

    assert (await crawl(max_retries=0))["/"].state == "failed"


async def test_a_large_page_is_read_like_any_other(site, crawl):
    site.page("/", "word " * 60_000, links=["/a"])
    site.page("/a")

    pages = await crawl()

    assert pages["/"].bytes > 200_000
    assert pages["/a"].state == "ok"


async def test_large_pages_are_parsed_off_the_loop_and_small_ones_on_it(site, crawl, monkeypatch):
    from headrace.worker.crawler import visit

    threads, read = {}, visit.read_page

    def noted(body, **rest):
        threads[rest["url"].rpartition("/")[2]] = threading.current_thread() is threading.main_thread()
        return read(body, **rest)

    monkeypatch.setattr(visit, "read_page", noted)
    site.page("/", "word " * 60_000, links=["/few", "/many"])
    site.page("/few")
    site.page("/many", links=[f"/many#{n}" for n in range(visit.MANY_LINKS + 1)])
    await crawl()

    assert threads == {"": False, "few": True, "many": False}


async def test_a_page_without_end_and_one_that_drips_cost_no_more_than_their_limits(site, crawl):
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"x" * (1 if request.path == "/drips" else 10_000))
                await asyncio.sleep(0.01 if request.path == "/drips" else 0)
        return response

    site.page("/", links=["/endless", "/drips"])
    site.pages["/endless"] = site.pages["/drips"] = endless

    pages = await crawl(timeout_seconds=1, max_retries=0)

    assert {path: (page.state, page.error) for path, page in pages.items()} == {
        "/": ("ok", None),
        "/endless": ("skipped", "too_large"),
        "/drips": ("failed", "timeout"),
    }


async def test_thousands_of_links_and_slow_patterns_leave_turns_to_others(site, crawl):
    site.page("/", links=[f"/{'a' * 500}{n}" for n in range(3000)])
    lags = []

    async def watch():
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            lags.append(time.monotonic() - began)

    watching = asyncio.create_task(watch())
    pages = await crawl(include=[r".*a.{0,50}b.*", r".*(?:.*a){100}!"])
    watching.cancel()

    assert set(pages) == {"/"}
    assert len(lags) >= 5


async def test_a_page_that_breaks_the_parser_fails_alone(site, crawl, monkeypatch):
    from headrace.worker.crawler import visit

    read = visit.read_page

    def breaks(body, **rest):
        if b"a deadly word" in body:
            raise RuntimeError("boom")
        return read(body, **rest)

    monkeypatch.setattr(visit, "read_page", breaks)
    site.page("/", links=["/poison", "/good"])
    site.page("/poison", "a deadly word")
    site.page("/good")

    pages = await crawl()

    assert {path: page.error for path, page in pages.items()} == {"/": None, "/poison": "unreadable", "/good": None}


def test_retry_after_is_read_as_seconds_or_date():
    now = datetime(2030, 1, 1, tzinfo=UTC)

    assert retry_after_seconds("7") == 7
    assert retry_after_seconds(format_datetime(now + timedelta(seconds=30), usegmt=True), now=now.timestamp()) == 30
    assert retry_after_seconds(format_datetime(now - timedelta(days=1), usegmt=True), now=now.timestamp()) == 0
    assert retry_after_seconds("soon") is None
    assert retry_after_seconds("-5") is None
    assert retry_after_seconds(None) is None
