"""The scheduler, over HTTP: what it says about itself, and what visitors have done there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.problems import error_of_problem
from headrace.monitor.ask import ask
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.process.logs import redact_url

MAX_READY_BYTES = 65_536
MAX_ANSWER_BYTES = 4 * 2**20
CALL_SECONDS = 30.0
"""An action on ten thousand dead letters takes seconds."""


@dataclass(frozen=True)
class SchedulerFacts:
    """What the scheduler says about itself: whether it answered, whether it is ready, and why not."""

    answered: bool
    ready: bool
    detail: str


class SchedulerSource:
    """The scheduler."""

    def __init__(self, config: JobConfig) -> None:
        self.breaker = Breaker("scheduler")
        self.url = redact_url(config.scheduler_url)
        self._base = config.scheduler_url.rstrip("/")
        self._ready_url = self._base + "/readyz"
        self._session: aiohttp.ClientSession | None = None

    async def facts(self) -> SchedulerFacts:
        """What it says about itself."""
        answer = await ask(self.breaker, self._ready)
        return answer.value or SchedulerFacts(answered=False, ready=False, detail=answer.reason)

    async def call(
        self, method: str, path: str, *, token: str | None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Ask for something with the visitor's own token, so that the scheduler judges it and writes who it was.

        Raises:
            ApiError: As the scheduler answered, in its words.
            StoreUnavailableError: It does not answer. What was to be done may have been.
        """
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            async with (
                asyncio.timeout(CALL_SECONDS),
                self._opened().request(
                    method, self._base + path, json=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                told = json.loads(await response.content.read(MAX_ANSWER_BYTES) or b"{}")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError):
            raise StoreUnavailableError(f"the scheduler does not answer at {self.url}") from None
        if not isinstance(told, dict):
            raise StoreUnavailableError(f"what answers at {self.url} is no scheduler")
        if response.status >= 400:
            raise error_of_problem(response.status, told)
        return told

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def _ready(self) -> SchedulerFacts:
        try:
            async with self._opened().get(self._ready_url, allow_redirects=False) as response:
                text = await response.content.read(MAX_READY_BYTES)
        except (aiohttp.ClientError, OSError, ValueError):
            # ValueError: the setting is not a URL that can be asked.
            raise StoreUnavailableError(f"nothing answers at {self.url}") from None
        return scheduler_facts(response.status, text)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def scheduler_facts(status: int, body: bytes) -> SchedulerFacts:
    """What an answer of `/readyz` means. Whatever it is, it becomes a line."""
    foreign = SchedulerFacts(answered=True, ready=False, detail=f"it answers with status {status}, not as a scheduler")
    if status not in {200, 503}:
        return foreign
    try:
        told = json.loads(body)
        word = str(told["status"])
        failing = [f"{name}: {check['detail']}" for name, check in told["checks"].items() if not check["ok"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return foreign
    return SchedulerFacts(answered=True, ready=status == 200, detail="; ".join(failing) or word)
