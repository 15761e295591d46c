"""A generated web site of a few hundred linked pages, the same at every start, served on loopback."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

from headrace.local.ports import LOOPBACK

SECTIONS = 12
ARTICLES = 24
ARCHIVE_DEPTH = 6
REDIRECTS = 5

_WORDS = (
    "water wheel mill gate channel sluice weir stone grain river spring flood summer winter levee turbine current "
    "bank bridge reed stream valley dam pond ford race paddle axle gear hopper flour sack miller"
)


@dataclass
class DemoContent:
    """What the site is made of. Paths are absolute and ASCII."""

    pages: dict[str, str] = field(default_factory=dict)
    """HTML by path: what a crawl that keeps the rules stores, each page once."""
    redirects: dict[str, str] = field(default_factory=dict)
    """Where a path sends on to."""
    missing: frozenset[str] = frozenset({"/missing", "/section-03/forgotten"})
    """Linked, but answered with 404."""
    private: dict[str, str] = field(default_factory=dict)
    """Linked, but closed by robots.txt."""


def make_content() -> DemoContent:
    """The content; equal at every call."""
    content = DemoContent()
    sections = [f"/section-{number:02d}/" for number in range(1, SECTIONS + 1)]
    content.private = {f"/private/note-{number}": _page(f"Private note {number}", [], number) for number in (1, 2, 3)}
    content.redirects = {f"/old/{n}": _article(n % SECTIONS + 1, n) for n in range(1, REDIRECTS)}
    content.redirects[f"/old/{REDIRECTS}"] = "/old/1"  # a redirect to a redirect
    extra = ["/missing", "/archive/1", *content.private, *content.redirects]
    content.pages["/"] = _page("The mill on the headrace", [*sections, *extra], 0)
    for number, path in enumerate(sections, start=1):
        articles = [_article(number, article) for article in range(1, ARTICLES + 1)]
        lost = ["/section-03/forgotten"] if number == 3 else []
        content.pages[path] = _page(f"Section {number}", ["/", *articles, *lost], number)
        for article in range(1, ARTICLES + 1):
            content.pages[_article(number, article)] = _article_page(number, article)
    for depth in range(1, ARCHIVE_DEPTH + 1):
        onward = [f"/archive/{depth + 1}"] if depth < ARCHIVE_DEPTH else ["/"]
        content.pages[f"/archive/{depth}"] = _page(f"Archive, shelf {depth}", onward, depth)
    return content


class DemoSite:
    """The content, served on a free loopback port: `async with DemoSite() as site`.

    Args:
        delay_seconds: How long every page takes, so that there is something to watch.
    """

    def __init__(self, *, delay_seconds: float = 0.02) -> None:
        self.content = make_content()
        self.requests: list[str] = []
        """Every path asked for, in order."""
        self.url = ""
        self._delay_seconds = delay_seconds
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        self.url = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.path
        self.requests.append(path)
        if path == "/robots.txt":
            return web.Response(text="User-agent: *\nDisallow: /private/\n")
        await asyncio.sleep(self._delay_seconds)
        if path in self.content.redirects:
            return web.Response(status=301, headers={"Location": self.content.redirects[path]})
        html = self.content.pages.get(path) or self.content.private.get(path)
        if html is None:
            return web.Response(status=404, text="Not here.")
        return web.Response(text=html, content_type="text/html", charset="utf-8")


def _article(section: int, article: int) -> str:
    return f"/section-{section:02d}/article-{article:02d}"


def _article_page(section: int, article: int) -> str:
    onward = _article(section, article % ARTICLES + 1)
    elsewhere = _article(section % SECTIONS + 1, (article * 7) % ARTICLES + 1)
    links = [f"/section-{section:02d}/", onward, f"{elsewhere}#more", "../"]
    return _page(f"Section {section}, article {article}", links, section * 100 + article)


def _page(title: str, links: list[str], seed: int) -> str:
    words = random.Random(seed)
    text = "".join(f"<p>{' '.join(words.choices(_WORDS.split(), k=40)).capitalize()}.</p>\n" for _ in range(4))
    items = "".join(f'<li><a href="{link}">{link}</a></li>\n' for link in links)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="description" content="{title} of a generated site"></head>\n'
        f"<body><h1>{title}</h1>\n{text}<ul>\n{items}</ul></body></html>\n"
    )
