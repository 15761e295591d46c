"""robots.txt of every origin, fetched once per crawl."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog
from protego import Protego

from headrace.worker.crawler.fetch import REDIRECTS, Answer, FetchError
from headrace.worker.crawler.retrying import Retrying
from headrace.worker.crawler.urls import canonical, origin_of

log = structlog.get_logger(__name__)

MAX_BYTES = 512 * 1024
MAX_REDIRECTS = 5


@dataclass(frozen=True)
class Rules:
    """What one origin allows. `error` is set when its robots.txt could not be had: then nothing may be fetched."""

    parsed: Protego | None = None
    error: str | None = None

    def allows(self, url: str, agent: str) -> bool:
        """Whether this URL may be fetched."""
        return self.error is None and (self.parsed is None or bool(self.parsed.can_fetch(url, agent)))

    def delay_seconds(self, agent: str) -> float:
        """The crawl-delay, fractions kept; 0 when there is none."""
        delay = self.parsed.crawl_delay(agent) if self.parsed else None
        return max(0.0, float(delay)) if delay is not None else 0.0


ALLOW_ALL = Rules()


@dataclass
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    rules: Rules | None = None


class RobotsCache:
    """Fetches on first need; everybody else who needs the same origin waits for that one fetch.

    As RFC 9309 has it: 4xx means no rules, 5xx and silence mean nothing may be fetched.
    """

    def __init__(self, retrying: Retrying) -> None:
        self._retrying = retrying
        self._entries: dict[str, _Entry] = {}

    async def rules_for(self, url: str) -> Rules:
        """The rules of the URL's origin."""
        origin = origin_of(url)
        entry = self._entries.setdefault(origin, _Entry())
        async with entry.lock:
            if entry.rules is None:
                entry.rules = await self._load(origin)
            return entry.rules

    async def _load(self, origin: str) -> Rules:
        url: str | None = f"{origin}/robots.txt"
        for _ in range(MAX_REDIRECTS + 1):
            if url is None:
                return ALLOW_ALL
            try:
                answer = (await self._retrying.get(url, max_bytes=MAX_BYTES, any_type=True)).answer
            except FetchError as error:
                log.info("crawl.robots_unreachable", origin=origin, error=error.code)
                return Rules(error=error.code)
            if answer.status not in REDIRECTS:
                return _judge(answer)
            url = canonical(answer.location or "", base=url)
        return ALLOW_ALL


def _judge(answer: Answer) -> Rules:
    if answer.status >= 500 or answer.status == 429:
        return Rules(error="robots_unreachable")
    if not 200 <= answer.status < 300:
        return ALLOW_ALL
    return Rules(parsed=Protego.parse(answer.body.decode("utf-8-sig", errors="replace")))
