"""Try again where that can help, later each time, and never sooner than the server asked."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import aiohttp

from headrace.contracts.retry import RetryPolicy
from headrace.worker.crawler.fetch import Answer, FetchError, fetch
from headrace.worker.crawler.politeness import Politeness
from headrace.worker.crawler.urls import host_of

BACK_OFF = RetryPolicy(base_seconds=0.5, factor=2.0, cap_seconds=30.0)
MAX_RETRY_AFTER_SECONDS = 120.0
"""A server that asks for more than this is not asked again by this crawl."""


@dataclass(frozen=True, slots=True)
class Tried:
    """An answer, whatever its status, and how many requests it took."""

    answer: Answer
    tries: int


class Retrying:
    """Requests with retries on time-outs, broken connections, 429 and 5xx. Every try waits its turn at the host."""

    def __init__(
        self, session: aiohttp.ClientSession, politeness: Politeness, *, timeout_seconds: float, max_retries: int
    ) -> None:
        self._session = session
        self._politeness = politeness
        self._timeout_seconds = timeout_seconds
        self._max_retries = max_retries

    async def get(self, url: str, *, max_bytes: int, delay_seconds: float = 0.0, any_type: bool = False) -> Tried:
        """The last answer, or the last error.

        Args:
            url: Canonical.
            max_bytes: See `fetch`.
            delay_seconds: The least time between two requests to this host.
            any_type: See `fetch`.

        Raises:
            FetchError: As `fetch`; its attribute `tries` counts the requests.
        """
        tries = 0
        while True:
            await self._politeness.turn(host_of(url), delay_seconds)
            tries += 1
            last = tries > self._max_retries
            try:
                answer = await fetch(
                    self._session, url, timeout_seconds=self._timeout_seconds, max_bytes=max_bytes, any_type=any_type
                )
            except FetchError as error:
                error.tries = tries
                if last or not error.retryable:
                    raise
                await asyncio.sleep(BACK_OFF.delay_seconds(tries, random.random()))
                continue
            if answer.status != 429 and answer.status < 500:
                return Tried(answer, tries)
            asked = retry_after_seconds(answer.retry_after)
            if asked is not None:
                # The whole host is busy, not this page alone.
                self._politeness.pause(host_of(url), min(asked, MAX_RETRY_AFTER_SECONDS))
            if last or (asked is not None and asked > MAX_RETRY_AFTER_SECONDS):
                return Tried(answer, tries)
            await asyncio.sleep(BACK_OFF.delay_seconds(tries, random.random()) if asked is None else asked)


def retry_after_seconds(header: str | None, *, now: float | None = None) -> float | None:
    """The wait that a `Retry-After` header asks for: seconds, or an HTTP date; None when it says nothing readable."""
    if not header:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))
