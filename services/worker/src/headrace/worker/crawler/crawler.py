"""The crawl itself: take a URL, ask, read, remember what was found, hand the page on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal

import aiohttp

from headrace.runtime.store.crawl_results import SeenPage, StoredPage, url_hash
from headrace.worker.crawler.fetch import make_session
from headrace.worker.crawler.frontier import Frontier, Target
from headrace.worker.crawler.hosts import Dependency, Doubt, Hosts
from headrace.worker.crawler.pages import Counts, page_of_redirect, page_of_visit
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


class Crawler:
    """One crawl. Tell it what is stored already, then `crawl`.

    Every URL in reach is handed to `keep` once: as `ok`, `failed`, `skipped` or `duplicate`. The set of URLs and their
    depths depend on the site and the payload alone, unless `max_pages` ends the crawl first.

    Args:
        payload: What to crawl.
        keep: Takes each finished page; it may wait, which slows the crawl down to its pace.
        allow_private: Whether loopback and private addresses may be asked.
        resolver: Instead of the system's name resolution.
        dependency: The breakers of hosts; without them a host that does not answer is crawled to its end.
    """

    def __init__(
        self,
        payload: CrawlPayload,
        *,
        keep: Keep,
        allow_private: bool = False,
        resolver: aiohttp.abc.AbstractResolver | None = None,
        dependency: Dependency | None = None,
    ) -> None:
        self.counts = Counts()
        self._payload = payload
        self._keep = keep
        self._allow_private = allow_private
        self._resolver = resolver
        self._scope = Scope(payload)
        self._frontier = Frontier()
        self._hosts = Hosts(dependency, covers=self._scope.is_at_start)
        self._redirects = Redirects()
        self._politeness = Politeness(per_host=payload.per_host_concurrency)
        self._running: set[bytes] = set()
        self._pending: set[bytes] = set()
        self._changed = asyncio.Event()
        self._found_before: dict[str, int] = {}

    @property
    def expected(self) -> int:
        """How many pages there will be, as far as is known now."""
        return min(self._payload.max_pages, self.counts.ok + len(self._frontier) + self._under_way)

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
            DependencyDown: A host that the crawl starts at does not answer. What could be had of its level is kept.
        """
        self._open_frontier()
        session = make_session(
            user_agent=self._payload.user_agent, allow_private=self._allow_private, resolver=self._resolver
        )
        async with session:
            visitor = Visitor(self._payload, session, self._politeness)
            self._hosts.ask_through(visitor)
            async with asyncio.TaskGroup() as visits:
                while True:
                    while (target := self._next()) is not None:
                        self._running.add(target.key)
                        self._politeness.enter(host_of(target.url))
                        visits.create_task(self._deal_with(target, visitor))
                    if self._running:
                        self._changed.clear()
                        await self._changed.wait()
                    elif not await self._settle_doubts(await self._hosts.settle()):
                        break
        if self._hosts.down and self.counts.ok < self._payload.max_pages:
            raise next(iter(self._hosts.down.values()))
        return "max_pages" if len(self._frontier) else "complete"

    def _open_frontier(self) -> None:
        for url in self._scope.start_urls:
            self._frontier.add(url, 0)
        for url, depth in self._found_before.items():
            self._frontier.add(url, depth)
        self._found_before = {}

    @property
    def _under_way(self) -> int:
        return len(self._running) + self._hosts.doubts

    def _next(self) -> Target | None:
        under_way = self._under_way
        if under_way >= MAX_OPEN or self.counts.ok + under_way >= self._payload.max_pages:
            return None
        # What a host that is away still has in this level may name pages of the next.
        return self._frontier.take(self._has_room, is_idle=not under_way and not self._hosts.down)

    def _has_room(self, host: str) -> bool:
        return self._hosts.is_open(host) and self._politeness.has_room(host)

    async def _deal_with(self, target: Target, visitor: Visitor) -> None:
        host = host_of(target.url)
        try:
            if not await self._hosts.enter(target):
                return  # the next attempt finds it again
            began = asyncio.get_running_loop().time()
            visit = await visitor.visit(target.url)
            if visit.is_silence:
                await self._settle_doubts(await self._hosts.doubt(target, visit))
            else:
                await self._settle_doubts(self._hosts.answered(host, began))
                await self._settle(target, visit)
        finally:
            self._politeness.leave(host)
            self._running.discard(target.key)
            self._changed.set()

    async def _settle_doubts(self, doubts: Sequence[Doubt]) -> bool:
        """Take these pages as failed. Returns whether there were any."""
        self._running.update(doubt.target.key for doubt in doubts)
        for doubt in doubts:
            await self._finish(doubt.target, doubt.visit)
        return bool(doubts)

    async def _settle(self, target: Target, visit: Visit) -> None:
        if visit.location is None:
            await self._finish(target, visit)
        else:
            # An empty Location would resolve to the page itself.
            url = canonical(visit.location, base=target.url) if visit.location else None
            await self._redirect(target, visit, url)

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
        under_way = key in self._running or self._hosts.keeps(key)
        return not (under_way or self._frontier.is_waiting(key) or key in self._pending)

    async def _finish(self, target: Target, visit: Visit, final_url: str | None = None) -> None:
        links = visit.reading.links if visit.reading else ()
        found = await self._find(links, target.depth + 1)
        # Counted before the wait, or a cancel in it would lose the page from the progress.
        self.counts.add(visit.state, visit.size)
        self._running.discard(target.key)
        settled = list(self._redirects.settle(target.key, Outcome(visit.state, visit.error, final_url)))
        await self._keep(page_of_visit(target, visit, final_url, links=links, found=found))
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
        await self._keep(page_of_redirect(redirect, outcome))
