"""Which URLs belong to a crawl."""

from __future__ import annotations

from urllib.parse import urlsplit

from headrace.worker.crawler.patterns import Matches, any_of
from headrace.worker.crawler.payload import CrawlPayload
from headrace.worker.crawler.urls import canonical


class Scope:
    """Decides by host and patterns. Start URLs are in scope whatever the patterns say."""

    def __init__(self, payload: CrawlPayload) -> None:
        spelled = [canonical(url) for url in payload.start_urls]
        self.start_urls = list(dict.fromkeys(url for url in spelled if url))
        self._starts = frozenset(self.start_urls)
        self._sites = {_site_of(url) for url in self.start_urls}
        self._hosts = self._sites if payload.same_host else None
        self._include: Matches | None = any_of(tuple(payload.include)) if payload.include else None
        self._exclude: Matches | None = any_of(tuple(payload.exclude)) if payload.exclude else None

    def admits(self, url: str) -> bool:
        """Whether a canonical URL may be fetched by this crawl."""
        if url in self._starts:
            return True
        if self._hosts is not None and _site_of(url) not in self._hosts:
            return False
        if self._include is not None and not self._include(url):
            return False
        return self._exclude is None or not self._exclude(url)

    def is_at_start(self, url: str) -> bool:
        """Whether a canonical URL is on one of the hosts that the crawl starts at."""
        return _site_of(url) in self._sites


def _site_of(url: str) -> tuple[str, int | None]:
    # Default ports are absent from canonical URLs, so http and https of one host are one site.
    parts = urlsplit(url)
    return (parts.hostname or "").removeprefix("www."), parts.port
