"""A store as a service watches it: behind its breaker, told by `/readyz`, metrics and logs, also without traffic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import structlog
from aiohttp import web

from headrace.contracts.errors import ConfigError, StoreUnavailableError
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.process.every import every
from headrace.runtime.process.lifecycle import STOPPING
from headrace.runtime.web.metrics import REGISTRY, BreakerCollector
from headrace.runtime.web.probes import CheckResult

LOOK_SECONDS = 1.0
ANSWER_SECONDS = 0.8
"""Below the limit of a probe, so that a frozen store is told apart from a wrong one."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Watched:
    """One store.

    Attributes:
        breaker: Through which it is asked; its name is the store's.
        look: Returns when it answers and is usable; raises `StoreUnavailableError` when it does not answer,
            `ConfigError` when it must not be used as it is set up.
    """

    breaker: Breaker
    look: Callable[[], Awaitable[None]]

    async def look_once(self) -> None:
        """Ask it once, within `ANSWER_SECONDS`.

        Raises:
            StoreUnavailableError: It does not answer, or is known not to.
            ConfigError: It is set up wrongly.
        """
        await self.breaker.call(self._bounded)

    async def check(self) -> CheckResult:
        """What `/readyz` says about it."""
        try:
            await self.look_once()
        except (StoreUnavailableError, ConfigError) as error:
            return CheckResult(ok=False, detail=str(error), breaker=self.breaker.state)
        return CheckResult(ok=True, breaker=self.breaker.state)

    async def _bounded(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self.look()
        except TimeoutError:
            raise StoreUnavailableError(f"{self.breaker.name} does not answer") from None


def refuse_wrong_setup(app: web.Application, store: Watched) -> None:
    """Ask the store once before what is appended to `cleanup_ctx` next starts.

    Set up wrongly it ends the start with its `ConfigError`; not answering is no reason not to start: it is looked at
    again as soon as it answers (`watch`), and `/readyz` says what is found.
    """

    async def look(_app: web.Application) -> AsyncIterator[None]:
        try:
            await store.look_once()
        except StoreUnavailableError as error:
            log.warning("store.absent_at_start", store=store.breaker.name, detail=error.detail)
        yield

    app.cleanup_ctx.append(look)


def watch(app: web.Application, *stores: Watched) -> None:
    """Ask the stores every second, and show their breakers in the metrics. Append it after what opens the stores.

    What is found is logged when it changes.
    """
    app[REGISTRY].register(BreakerCollector([store.breaker for store in stores]))

    def look_of(store: Watched) -> Callable[[], Awaitable[None]]:
        async def look() -> None:
            try:
                if not app[STOPPING].is_set():
                    await store.look_once()
            except Exception:
                if not app[STOPPING].is_set():  # else it is being closed
                    raise

        return look

    async def run(_app: web.Application) -> AsyncIterator[None]:
        stop = asyncio.Event()
        tasks = [
            asyncio.create_task(every(LOOK_SECONDS, look_of(store), name=f"watch.{store.breaker.name}", stop=stop))
            for store in stores
        ]
        yield
        stop.set()
        await asyncio.gather(*tasks)

    app.cleanup_ctx.append(run)
