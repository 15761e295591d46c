"""robots.txt of every origin, fetched once per crawl."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

import structlog
from protego import Protego

from headrace.worker.crawler.fetch import REDIRECTS, Answer, FetchError
from headrace.worker.crawler.retrying import Retrying
from headrace.worker.crawler.urls import canonical, origin_of

log = structlog.get_logger(__name__)

MAX_BYTES = 512 * 1024
MAX_REDIRECTS = 5
BIG_BYTES = 16 * 1024
"""Larger ones are parsed in a thread: the largest takes some tenths of a second."""
MAX_KEPT_BYTES = 32_000_000
"""Of memory for all rules together; then those that were not needed for longest go, and are fetched again if needed."""


@dataclass(frozen=True)
class Rules:
    """What one origin allows. `error` is set when its robots.txt could not be had: then nothing may be fetched."""

    parsed: Protego | None = None
    error: str | None = None
    size: int = 0

    @property
    def weight(self) -> int:
        """About how much memory this takes: parsed rules are nine times their text (measured)."""
        return 3000 + 9 * self.size

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

    Bounded by `MAX_KEPT_BYTES` however many origins a crawl meets. As RFC 9309 has it: 4xx means no rules, 5xx and
    silence mean nothing may be fetched.
    """

    def __init__(self, retrying: Retrying) -> None:
        self._retrying = retrying
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._weight = 0

    async def rules_for(self, url: str) -> Rules:
        """The rules of the URL's origin."""
        origin = origin_of(url)
        entry = self._entries.setdefault(origin, _Entry())
        self._entries.move_to_end(origin)
        async with entry.lock:
            if entry.rules is None:
                entry.rules = await self._load(origin)
                self._weight += entry.rules.weight
                self._forget()
            return entry.rules

    def _forget(self) -> None:
        for origin, entry in list(self._entries.items()) if self._weight > MAX_KEPT_BYTES else ():
            if self._weight <= MAX_KEPT_BYTES:
                break
            if entry.rules is not None:
                # Those who hold these rules already go on with them.
                del self._entries[origin]
                self._weight -= entry.rules.weight

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
                return await asyncio.to_thread(_judge, answer) if len(answer.body) > BIG_BYTES else _judge(answer)
            url = canonical(answer.location or "", base=url)
        return ALLOW_ALL


def _judge(answer: Answer) -> Rules:
    if answer.status >= 500 or answer.status == 429:
        return Rules(error="robots_unreachable")
    if not 200 <= answer.status < 300:
        return ALLOW_ALL
    return Rules(parsed=Protego.parse(answer.body.decode("utf-8-sig", errors="replace")), size=len(answer.body))
