"""A site with every oddity that a crawl can meet, and what must become of each of its URLs."""

from __future__ import annotations

import asyncio
import contextlib
import gzip

from aiohttp import web
from crawler_site import Site

DELAY_SECONDS = 0.03
MAX_BYTES = 200_000
TIMEOUT_SECONDS = 2.0
HOPS = 12
ROBOTS = f"""\
User-agent: edge-bot
Crawl-delay: {DELAY_SECONDS}
Disallow: /forbidden
Disallow: /*.secret$

User-agent: *
Disallow: /
Crawl-delay: 60
"""
OK = ("ok", None)
# Link-local addresses stay refused although loopback is open here, so that the site itself can be asked.
BLOCKED = {
    "http://169.254.169.254/latest/meta-data/": "blocked_address",
    "http://[::ffff:a9fe:a9fe]/": "blocked_address",
    "http://[64:ff9b::a9fe:a9fe]/": "blocked_address",
    "http://[2002:a9fe:a9fe::]/": "blocked_address",
    "http://[fe80::1]/": "blocked_address",
    "http://[::]/": "blocked_address",
    "http://0.0.0.0/": "blocked_address",
    "http://0xa9fea9fe/": "blocked_address",
    "http://0251.0376.0251.0376/": "bad_response",  # the client itself refuses what is digits and dots alone
    "http://2852039166/": "bad_response",
}
NEVER_LINKS = ["http://user@127.0.0.1/", "http://user:pw@127.0.0.1:1/", "ftp://127.0.0.1/", "file:///etc/passwd"]
STATES = {
    "/": OK,
    "/charset/header": OK,
    "/charset/mark": OK,
    "/charset/mark16": OK,
    "/charset/meta": OK,
    "/charset/wrong": OK,
    "/charset/bogus": OK,
    "/base/here": OK,
    "/base/there/page": OK,
    "/fragments": OK,
    "/query?b=2&a=1": OK,
    "/query?a=1&b=2": OK,
    "/caf%C3%A9": OK,
    "/Case": OK,
    "/case": OK,
    "/dots": OK,
    "/two%20words": OK,
    "/forbidden/page": ("skipped", "robots"),
    "/any.secret": ("skipped", "robots"),
    "/any.secret.html": OK,
    "/to-forbidden": ("skipped", "robots"),
    "/forbidden/target": ("skipped", "robots"),
    "/meta-noindex": ("skipped", "noindex"),
    "/behind-noindex": OK,
    "/header-noindex": ("skipped", "noindex"),
    "/header-for-others": OK,
    "/meta-nofollow": OK,
    "/rel-nofollow": OK,
    "/busy": OK,
    "/flaky": OK,
    "/broken": ("failed", "http_500"),
    "/gone": ("failed", "http_410"),
    "/hangs-once": OK,
    "/resets-once": OK,
    "/bomb": ("skipped", "too_large"),
    "/large": ("skipped", "too_large"),
    "/endless": ("skipped", "too_large"),
    "/image": ("skipped", "content_type"),
    "/xhtml": OK,
    "/untyped": OK,
    "/into-seen": ("duplicate", None),
    "/moved": ("duplicate", None),
    "/new-place": OK,
    "/loop-a": ("failed", "redirect_loop"),
    "/loop-b": ("failed", "redirect_loop"),
    "/loop-self": ("failed", "redirect_loop"),
    "/to-nowhere": ("failed", "bad_redirect"),
    "/to-file": ("failed", "bad_redirect"),
    "/to-user": ("failed", "bad_redirect"),
    "/to-inside": ("failed", "blocked_address"),
    "/cookie": OK,
    "/after-cookie": OK,
    **{f"/hop/{n}": ("failed", "redirect_limit") for n in range(HOPS - 1)},
    **{url: ("failed", code) for url, code in BLOCKED.items()},
}


def build(site: Site, secrets: list[str]) -> None:
    """Every page of the table, and the home page that leads to them."""

    def body(html: bytes, content_type: str = "text/html", **headers: str) -> web.Response:
        return web.Response(body=html, headers={"Content-Type": content_type} | headers)

    def once(first, then="fine"):
        async def answer(request: web.Request) -> web.StreamResponse:
            if site.hits[request.raw_path] == 1:
                return await first(request)
            return web.Response(text=then, content_type="text/html")

        return answer

    def status(code: int, **headers: str):
        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(status=code, headers={name.replace("_", "-"): text for name, text in headers.items()})

        return answer

    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async def reset(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"<p>more</p>" * 1000)
        return response

    async def look_for_secrets(request: web.Request) -> web.StreamResponse:
        secrets.extend(name for name in ("Cookie", "Authorization", "Referer") if name in request.headers)
        return web.Response(text="fine", content_type="text/html")

    latin = "<p>café</p>".encode("latin-1")
    link = '<a href="{}">x</a>'
    site.pages |= {
        "/robots.txt": web.Response(text=ROBOTS),
        "/charset/header": body(latin, "text/html; charset=ISO-8859-1"),
        "/charset/mark": body(b"\xef\xbb\xbf" + "<p>café</p>".encode(), "text/html; charset=ISO-8859-1"),
        "/charset/mark16": body("<p>café</p>".encode("utf-16")),
        "/charset/meta": body(b'<meta charset="iso-8859-1">' + latin),
        "/charset/wrong": body(latin + b'<a href="/case">x</a>', "text/html; charset=utf-8"),
        "/charset/bogus": body("<p>café</p>".encode(), "text/html; charset=no-such-name"),
        "/base/here": '<base href="/base/there/">' + link.format("page"),
        "/header-noindex": body(b"hidden", **{"X-Robots-Tag": "noindex"}),
        "/header-for-others": body(b"seen", **{"X-Robots-Tag": "otherbot: noindex, nofollow"}),
        "/rel-nofollow": '<a rel="external NOFOLLOW" href="/never/rel">x</a>',
        "/busy": once(status(429, Retry_After="1")),
        "/flaky": once(status(503)),
        "/broken": web.Response(status=500),
        "/gone": web.Response(status=410),
        "/hangs-once": once(hang),
        "/resets-once": once(reset),
        "/bomb": body(gzip.compress(b"<p>" + b"\0" * 60_000_000), **{"Content-Encoding": "gzip"}),
        "/large": body(b"<p>" + b"x" * MAX_BYTES),
        "/endless": endless,
        "/image": body(b"\x89PNG" + b"\0" * 1_000_000, "image/png"),
        "/xhtml": body(b"<html/>", "application/xhtml+xml"),
        "/untyped": body(b"  <html></html>", ""),
        "/cookie": body(b"have one", **{"Set-Cookie": "session=1; Path=/"}),
        "/after-cookie": look_for_secrets,
    }
    site.page("/meta-noindex", head='<meta name="ROBOTS" content="NoIndex">', links=["/behind-noindex"])
    site.page("/meta-nofollow", head='<meta name="edge-bot" content="nofollow">', links=["/never/meta"])
    site.redirect("/to-forbidden", "/forbidden/target")
    site.redirect("/into-seen", "/case")
    site.redirect("/moved", "new-place#part", status=308)
    site.redirect("/loop-a", "/loop-b")
    site.redirect("/loop-b", "/loop-a")
    site.redirect("/loop-self", "/loop-self")
    site.redirect("/to-nowhere", "")
    site.redirect("/to-file", "file:///etc/passwd")
    site.redirect("/to-user", "http://user:pw@127.0.0.1/")
    site.redirect("/to-inside", "http://169.254.169.254/latest/meta-data/")
    for n in range(HOPS):
        site.redirect(f"/hop/{n}", f"/hop/{n + 1}")
    for path, (state, _) in STATES.items():
        if state == "ok" and path not in site.pages:
            site.page(path)
    behind = {"/", "/base/there/page", "/forbidden/target", "/behind-noindex", "/new-place", "/loop-b", "/caf%C3%A9"}
    written = ["/fragments#a", "/fragments#b", "/x/../dots", "/two words", "/café", *NEVER_LINKS]
    spelled = {"/fragments", "/dots", "/two%20words"}
    hops = {f"/hop/{n}" for n in range(1, HOPS)}
    site.page("/", links=[*(path for path in STATES if path not in behind | spelled | hops), *written])
