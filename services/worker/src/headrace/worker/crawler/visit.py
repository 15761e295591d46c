"""One URL: may it be asked, what does it answer, what does the answer mean."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
import structlog

from headrace.runtime.store.crawl_results import PageState
from headrace.worker.crawler.fetch import REDIRECTS, Answer, FetchError, HostSilentError, fetch
from headrace.worker.crawler.html import Reading, read_page
from headrace.worker.crawler.payload import CrawlPayload
from headrace.worker.crawler.politeness import Politeness
from headrace.worker.crawler.retrying import Retrying
from headrace.worker.crawler.robots import ALLOW_ALL, RobotsCache
from headrace.worker.crawler.turns import reading_turn
from headrace.worker.crawler.urls import host_of, origin_of

log = structlog.get_logger(__name__)

BIG_PAGE_BYTES = 200_000
"""Larger pages are parsed in a thread: they would hold up everything else on this loop for tens of milliseconds."""
MANY_LINKS = 1000
"""So are pages with more links, each of which takes some 20 µs."""
SILENCE = frozenset({"timeout", "connection", "dns", "robots_unreachable"})
"""Errors that a host which is away would have caused as well."""
ASK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Visit:
    """What came of asking one URL. `location` is set, and `state` not final, when it answered with a redirect."""

    state: PageState
    error: str | None = None
    status: int | None = None
    tries: int = 0
    size: int = 0
    location: str | None = None
    reading: Reading | None = None

    @property
    def is_silence(self) -> bool:
        """Whether it ended as everything ends at a host that is away."""
        return self.state == "failed" and (self.error in SILENCE or _is_away(self.status))


def _is_away(status: int | None) -> bool:
    return status is not None and (status == 429 or status >= 500)


class Visitor:
    """Asks one URL at a time, by the rules of its robots.txt, and reads what it gets. Follows nothing."""

    def __init__(self, payload: CrawlPayload, session: aiohttp.ClientSession, politeness: Politeness) -> None:
        self._payload = payload
        self._session = session
        self._politeness = politeness
        self._retrying = Retrying(
            session, politeness, timeout_seconds=payload.timeout_seconds, max_retries=payload.max_retries
        )
        self._robots = RobotsCache(self._retrying)
        self._agent = payload.user_agent.partition("/")[0].strip().lower() if payload.respect_robots else None

    async def meet(self, url: str) -> None:
        """Ask the host of a URL for its robots.txt, as `visit` does first.

        Raises:
            HostSilentError: It does not answer, after the retries.
        """
        if not self._payload.respect_robots:
            await self.ask(url)
        elif (error := (await self._robots.rules_for(url)).error) in SILENCE:
            raise HostSilentError(error)

    async def ask(self, url: str) -> None:
        """Ask the host of a URL for its robots.txt once, to see whether it answers anything.

        Raises:
            HostSilentError: It does not.
        """
        await self._politeness.turn(host_of(url), self._payload.delay_seconds)
        try:
            answer = await fetch(
                self._session,
                f"{origin_of(url)}/robots.txt",
                timeout_seconds=min(self._payload.timeout_seconds, ASK_SECONDS),
                max_bytes=1,
                any_type=True,
            )
        except FetchError as error:
            if error.code in SILENCE:
                raise HostSilentError(error.code) from None
            return
        if _is_away(answer.status):
            raise HostSilentError(f"http_{answer.status}")

    async def visit(self, url: str) -> Visit:
        """Ask, with retries, and read. Never raises for what a site does."""
        rules = await self._robots.rules_for(url) if self._payload.respect_robots else ALLOW_ALL
        if rules.error is not None:
            return Visit("failed", rules.error)
        if not rules.allows(url, self._payload.user_agent):
            return Visit("skipped", "robots")
        delay = max(self._payload.delay_seconds, rules.delay_seconds(self._payload.user_agent))
        try:
            tried = await self._retrying.get(url, max_bytes=self._payload.max_bytes, delay_seconds=delay)
        except FetchError as error:
            return Visit("skipped" if error.code == "too_large" else "failed", error.code, tries=error.tries)
        return await self._judge(url, tried.answer, tried.tries)

    async def _judge(self, url: str, answer: Answer, tries: int) -> Visit:
        status, size = answer.status, len(answer.body)
        if status in REDIRECTS:
            return Visit("duplicate", None, status, tries, location=answer.location or "")
        if not 200 <= status < 300:
            return Visit("failed", f"http_{status}", status, tries)
        if not answer.wanted:
            return Visit("skipped", "content_type", status, tries)
        try:
            is_slow = size > BIG_PAGE_BYTES or answer.body.count(b"href") > MANY_LINKS
            if is_slow:
                reading = await asyncio.to_thread(self._read, url, answer)
            else:
                async with reading_turn():
                    reading = self._read(url, answer)
        except Exception as error:  # noqa: BLE001  -- one page that breaks the parser must not end the crawl
            log.warning("crawl.unreadable", error=type(error).__name__)
            return Visit("failed", "unreadable", status, tries, size)
        if reading.noindex:
            return Visit("skipped", "noindex", status, tries, size, reading=reading)
        return Visit("ok", None, status, tries, size, reading=reading)

    def _read(self, url: str, answer: Answer) -> Reading:
        return read_page(
            answer.body,
            url=url,
            content_type=answer.content_type,
            robots_header=answer.robots_header,
            agent=self._agent,
        )
