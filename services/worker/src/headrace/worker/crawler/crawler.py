"""The crawl itself: take a URL, ask, read, remember what was found, hand the page on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import aiohttp

from headrace.runtime.store.crawl_results import PageState, SeenPage, StoredPage, url_hash
from headrace.worker.crawler.fetch import make_session
from headrace.worker.crawler.frontier import Frontier, Target
from headrace.worker.crawler.payload import CrawlPayload
from headrace.worker.crawler.politeness import Politeness
from headrace.worker.crawler.redirects import MAX_HOPS, Outcome, Redirect, Redirects
from headrace.worker.crawler.scope import Scope
from headrace.worker.crawler.urls import canonical, host_of
from headrace.worker.crawler.visit import Visit, Visitor

MAX_OPEN = 128
"""Visits at once over all hosts."""
HOLD_SECONDS = 0.01
"""Longest work on one page's links before the others get a turn."""

Stopped = Literal["complete", "max_pages"]
Keep = Callable[[StoredPage], Awaitable[None]]


@dataclass
class Counts:
    """How many URLs ended in each state, and the bytes of the pages that are ok."""

    ok: int = 0
    failed: int = 0
    skipped: int = 0
    duplicate: int = 0
    bytes: int = 0

    @property
    def done(self) -> int:
        """URLs that are dealt with."""
        return self.ok + self.failed + self.skipped + self.duplicate

    def add(self, state: PageState, size: int) -> None:
        """One more."""
        setattr(self, state, getattr(self, state) + 1)
        self.bytes += size if state == "ok" else 0


class Crawler:
    """One crawl. Tell it what is stored already, then `crawl`.

    Every URL in reach is handed to `keep` once: as `ok`, `failed`, `skipped` or `duplicate`. The set of URLs and their
    depths depend on the site and the payload alone, unless `max_pages` ends the crawl first.

    Args:
        payload: What to crawl.
        keep: Takes each finished page; it may wait, which slows the crawl down to its pace.
        allow_private: Whether loopback and private addresses may be asked.
        resolver: Instead of the system's name resolution.
    """

    def __init__(
        self,
        payload: CrawlPayload,
        *,
        keep: Keep,
        allow_private: bool = False,
        resolver: aiohttp.abc.AbstractResolver | None = None,
    ) -> None:
        self.counts = Counts()
        self._payload = payload
        self._keep = keep
        self._allow_private = allow_private
        self._resolver = resolver
        self._scope = Scope(payload)
        self._frontier = Frontier()
        self._redirects = Redirects()
        self._politeness = Politeness(per_host=payload.per_host_concurrency)
        self._running: set[bytes] = set()
        self._pending: set[bytes] = set()
        self._changed = asyncio.Event()
        self._found_before: dict[str, int] = {}

    @property
    def expected(self) -> int:
        """How many pages there will be, as far as is known now."""
        return min(self._payload.max_pages, self.counts.ok + len(self._frontier) + len(self._running))

    def remember(self, page: SeenPage) -> None:
        """Take over a page that an earlier attempt stored; it will not be fetched again."""
        self.counts.add(page.state, page.bytes)
        self._frontier.mark_done(page.key)
        self._redirects.remember(page)
        self.remember_links(page.found, page.depth if page.final_url else page.depth + 1)

    def remember_links(self, urls: Iterable[str], depth: int) -> bool:
        """URLs that were found earlier at this depth. Returns whether one of them is still to be fetched."""
        is_news = False
        for url in urls:
            if (
                self._reaches(url, depth)
                and not self._frontier.knows(url_hash(url))
                and depth < self._found_before.get(url, depth + 1)
            ):
                self._found_before[url] = depth
                is_news = True
        return is_news

    async def crawl(self) -> Stopped:
        """Crawl until nothing is left or `max_pages` are stored.

        Raises:
            BaseExceptionGroup: Holding what `keep` raised.
        """
        self._open_frontier()
        session = make_session(
            user_agent=self._payload.user_agent, allow_private=self._allow_private, resolver=self._resolver
        )
        async with session:
            visitor = Visitor(self._payload, session, self._politeness)
            async with asyncio.TaskGroup() as visits:
                while True:
                    while (target := self._next()) is not None:
                        self._running.add(target.key)
                        self._politeness.enter(host_of(target.url))
                        visits.create_task(self._deal_with(target, visitor))
                    if not self._running:
                        break
                    self._changed.clear()
                    await self._changed.wait()
        return "max_pages" if len(self._frontier) else "complete"

    def _open_frontier(self) -> None:
        for url in self._scope.start_urls:
            self._frontier.add(url, 0)
        for url, depth in self._found_before.items():
            self._frontier.add(url, depth)
        self._found_before = {}

    def _next(self) -> Target | None:
        is_full = len(self._running) >= MAX_OPEN or self.counts.ok + len(self._running) >= self._payload.max_pages
        return None if is_full else self._frontier.take(self._politeness.has_room, is_idle=not self._running)

    async def _deal_with(self, target: Target, visitor: Visitor) -> None:
        try:
            visit = await visitor.visit(target.url)
            if visit.location is None:
                await self._finish(target, visit)
            else:
                # An empty Location would resolve to the page itself.
                url = canonical(visit.location, base=target.url) if visit.location else None
                await self._redirect(target, visit, url)
        finally:
            self._politeness.leave(host_of(target.url))
            self._running.discard(target.key)
            self._changed.set()

    def _reaches(self, url: str, depth: int) -> bool:
        is_deep = self._payload.max_depth is not None and depth > self._payload.max_depth
        return not is_deep and self._scope.admits(url)

    async def _redirect(self, source: Target, visit: Visit, url: str | None) -> None:
        if url is None:
            await self._finish(source, replace(visit, state="failed", error="bad_redirect"))
        elif not self._scope.admits(url):
            await self._finish(source, replace(visit, state="skipped", error="redirect_out_of_scope"), url)
        elif source.hops >= MAX_HOPS:
            await self._finish(source, replace(visit, state="failed", error="redirect_limit"), url)
        else:
            redirect = Redirect(source, url, url_hash(url), visit.status, visit.tries)
            self._frontier.add(url, source.depth, source.hops + 1)
            self._pending.add(source.key)
            for settled in self._redirects.follow(redirect, target_is_done=self._is_done(redirect.target_key)):
                await self._finish_redirect(*settled)

    def _is_done(self, key: bytes) -> bool:
        return not (self._frontier.is_waiting(key) or key in self._running or key in self._pending)

    async def _finish(self, target: Target, visit: Visit, final_url: str | None = None) -> None:
        links = visit.reading.links if visit.reading else ()
        found = await self._find(links, target.depth + 1)
        # Counted before the wait, or a cancel in it would lose the page from the progress.
        self.counts.add(visit.state, visit.size)
        self._running.discard(target.key)
        settled = list(self._redirects.settle(target.key, Outcome(visit.state, visit.error, final_url)))
        await self._keep(_page_of(target, visit, final_url, links=links, found=found))
        for redirect, outcome in settled:
            await self._finish_redirect(redirect, outcome)

    async def _find(self, links: Iterable[str], depth: int) -> tuple[str, ...]:
        """The links in reach that nobody named before; they wait in the frontier now."""
        clock = asyncio.get_running_loop().time
        found, pause_at = [], clock() + HOLD_SECONDS
        for url in links:
            if self._reaches(url, depth) and self._frontier.add(url, depth):
                found.append(url)
            if clock() >= pause_at:  # patterns may take a while on thousands of links
                await asyncio.sleep(0)
                pause_at = clock() + HOLD_SECONDS
        return tuple(found)

    async def _finish_redirect(self, redirect: Redirect, outcome: Outcome) -> None:
        self._pending.discard(redirect.source.key)
        self.counts.add(outcome.state, 0)
        await self._keep(
            StoredPage(
                url=redirect.source.url,
                final_url=outcome.final_url,
                state=outcome.state,
                status=redirect.status,
                error=outcome.error,
                depth=redirect.source.depth,
                tries=redirect.tries,
                # So that a resumed crawl gives the target this depth.
                found=(redirect.target_url,),
            )
        )


def _page_of(
    target: Target, visit: Visit, final_url: str | None, *, links: tuple[str, ...], found: tuple[str, ...]
) -> StoredPage:
    page = StoredPage(
        url=target.url,
        final_url=final_url,
        state=visit.state,
        status=visit.status,
        error=visit.error,
        depth=target.depth,
        tries=visit.tries,
        found=found,
        links=links,
        bytes=visit.size,
    )
    if visit.reading is None or visit.state != "ok":
        return page
    return page.with_reading(
        title=visit.reading.title,
        description=visit.reading.description,
        canonical=visit.reading.canonical,
        encoding=visit.reading.encoding,
        text=visit.reading.text,
    )
