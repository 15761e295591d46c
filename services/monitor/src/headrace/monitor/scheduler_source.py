"""What the scheduler says about itself, over HTTP."""

from __future__ import annotations

import json
from dataclasses import dataclass

import aiohttp

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import StoreUnavailableError
from headrace.monitor.ask import ask
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.process.logs import redact_url

MAX_READY_BYTES = 65_536


@dataclass(frozen=True)
class SchedulerFacts:
    """What the scheduler says about itself: whether it answered, whether it is ready, and why not."""

    answered: bool
    ready: bool
    detail: str


class SchedulerSource:
    """The readiness of the scheduler, over HTTP."""

    def __init__(self, config: JobConfig) -> None:
        self.breaker = Breaker("scheduler")
        self.url = redact_url(config.scheduler_url)
        self._ready_url = config.scheduler_url.rstrip("/") + "/readyz"
        self._session: aiohttp.ClientSession | None = None

    async def facts(self) -> SchedulerFacts:
        """What it says about itself."""
        answer = await ask(self.breaker, self._ready)
        return answer.value or SchedulerFacts(answered=False, ready=False, detail=answer.reason)

    async def _ready(self) -> SchedulerFacts:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with self._session.get(self._ready_url, allow_redirects=False) as response:
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
