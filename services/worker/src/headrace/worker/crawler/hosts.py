"""Whether the hosts that a crawl is for answer at all; one that does not is left alone until it does.

A page that fails says little about its host, so the host itself is asked, for its robots.txt: once before its first
page, and again when several of its pages have failed in a row. What it answers does not matter here, as long as it is
no 429 and no 5xx. Pages that failed meanwhile are kept back: they are failures of their own when the host answers, and
nothing that is stored when it does not, so that a later attempt asks for them again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import structlog

from headrace.contracts.errors import DependencyDown
from headrace.runtime.store.breakers import HOST_PREFIX
from headrace.worker.crawler.fetch import HostSilentError
from headrace.worker.crawler.frontier import Target
from headrace.worker.crawler.urls import host_of
from headrace.worker.crawler.visit import Visit

DOUBTS = 5
"""Pages of a host that fail in a row before the host itself is asked."""
ASKS = 6
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 4.0
MAX_NAME = 200

Dependency = Callable[[str], AbstractAsyncContextManager[None]]
"""`JobContext.dependency`."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A page that failed, maybe because its host did."""

    target: Target
    visit: Visit
    at: float
    """By the event loop's clock."""


class Asks(Protocol):
    """Who asks hosts; both raise `HostSilentError`."""

    async def meet(self, url: str) -> None:
        """Ask the host of this URL, before its first page."""

    async def ask(self, url: str) -> None:
        """Ask it once, whatever it has said before."""


class Hosts:
    """What one crawl knows of its hosts.

    Args:
        dependency: The breaker of a name; without one no host is ever asked.
        covers: Whether the crawl is for the host of this URL. Others are never asked: a dead link is no reason to stop.
    """

    def __init__(self, dependency: Dependency | None, *, covers: Callable[[str], bool]) -> None:
        self.down: dict[str, DependencyDown] = {}
        """The hosts that do not answer, each with what parks the crawl."""
        self._dependency = dependency
        self._covers = covers
        self._asks: Asks
        self._parked: set[bytes] = set()
        self._met: set[str] = set()
        self._has_answered: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}
        self._asking: set[str] = set()
        self._doubts: dict[str, dict[bytes, Doubt]] = {}

    def ask_through(self, asks: Asks) -> None:
        """Say who asks from now on."""
        self._asks = asks

    @property
    def doubts(self) -> int:
        """How many pages are kept back."""
        return sum(map(len, self._doubts.values()))

    def keeps(self, key: bytes) -> bool:
        """Whether nothing has become of this page yet: it is kept back, or left to the next attempt."""
        return key in self._parked or any(key in doubts for doubts in self._doubts.values())

    def is_open(self, host: str) -> bool:
        """Whether pages of this host may be asked for now."""
        return host not in self.down and host not in self._asking

    async def enter(self, target: Target) -> bool:
        """Whether this page may be asked for. The first of a host asks the host; the others wait for that."""
        host = host_of(target.url)
        if host not in self._met and self._dependency is not None and self._covers(target.url):
            async with self._locks.setdefault(host, asyncio.Lock()):
                if host not in self._met:
                    await self._meet(self._dependency, host, target.url)
        if host in self.down:
            self._parked.add(target.key)
        return host not in self.down

    async def _meet(self, dependency: Dependency, host: str, url: str) -> None:
        try:
            async with dependency(name_of(host)):
                await self._asks.meet(url)
            self._has_answered.add(host)
        except DependencyDown as error:
            self._lose(host, error)
        except HostSilentError:
            pass  # it is counted; the pages will tell more
        self._met.add(host)

    def answered(self, host: str, began: float) -> list[Doubt]:
        """A page was answered whose visit began then: those that had failed before failed by themselves."""
        self._has_answered.add(host)
        known = self._doubts.get(host)
        if not known:
            return []
        settled = [doubt for doubt in known.values() if doubt.at <= began]
        for doubt in settled:
            del known[doubt.target.key]
        return settled

    async def doubt(self, target: Target, visit: Visit) -> list[Doubt]:
        """A page failed as pages do when their host is away. Returns those that failed by themselves after all."""
        host, doubt = host_of(target.url), Doubt(target, visit, asyncio.get_running_loop().time())
        if self._dependency is None or not self._covers(target.url):
            return [doubt]
        if host in self.down:
            self._parked.add(target.key)
            return []
        doubts = self._doubts.setdefault(host, {})
        doubts[target.key] = doubt
        if len(doubts) < DOUBTS or host in self._asking:
            return []
        return await self._judge(self._dependency, host, target.url)

    async def settle(self) -> list[Doubt]:
        """Nothing is under way that could tell more: those of all that are kept back that failed by themselves.

        A host that has never answered is not asked for the sake of a few pages: most likely there is none.
        """
        settled: list[Doubt] = []
        for host, doubts in list(self._doubts.items()):
            if doubts and self._dependency is not None and host in self._has_answered:
                settled += await self._judge(self._dependency, host, next(iter(doubts.values())).target.url)
            else:
                settled += self._doubts.pop(host).values()
        return settled

    async def _judge(self, dependency: Dependency, host: str, url: str) -> list[Doubt]:
        """Ask the host. What is kept back failed by itself if it answers, and is left to a later attempt if not."""
        self._asking.add(host)
        try:
            works = await self._answers(dependency, host, url)
        finally:
            self._asking.discard(host)
        return list(self._doubts.pop(host, {}).values()) if works else []

    async def _answers(self, dependency: Dependency, host: str, url: str) -> bool:
        name, silence = name_of(host), ""
        for number in range(ASKS):
            if number:
                await asyncio.sleep(min(FIRST_PAUSE_SECONDS * 2 ** (number - 1), MAX_PAUSE_SECONDS))
            try:
                async with dependency(name):
                    await self._asks.ask(url)
            except DependencyDown as error:
                self._lose(host, error)
                return False
            except HostSilentError as error:
                silence = str(error)
            else:
                return True
        # Its breaker could not be opened, because MongoDB is away too.
        self._lose(host, DependencyDown(name, silence))
        return False

    def _lose(self, host: str, error: DependencyDown) -> None:
        self._parked.update(self._doubts.pop(host, {}))
        self.down[host] = error
        log.info("crawl.host_down", host=host, error=str(error))


def name_of(host: str) -> str:
    """The dependency that stands for a host."""
    return f"{HOST_PREFIX}{host}"[:MAX_NAME]
