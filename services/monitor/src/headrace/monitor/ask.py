"""Asking a dependency: one second, behind its breaker, and an answer that may say why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from headrace.contracts.errors import HeadraceError, StoreUnavailableError
from headrace.runtime.process.breaker import Breaker

ASK_SECONDS = 1.0

T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What came back: a value, or the reason why there is none."""

    value: T | None = None
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the dependency answered."""
        return not self.reason


async def ask(breaker: Breaker, call: Callable[[], Awaitable[T]]) -> Answer[T]:
    """Call once. Never raises and never takes longer than a second, so a page can always be shown."""

    async def bounded() -> T:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await call()
        except TimeoutError:
            raise StoreUnavailableError(f"{breaker.name} did not answer within {ASK_SECONDS:g} s") from None

    try:
        return Answer(await breaker.call(bounded))
    except HeadraceError as error:
        return Answer(reason=str(error))
    except Exception as error:  # noqa: BLE001 -- the monitor must show what it can, whatever a source does
        # For example a wrong password: the driver's text might repeat it, its class does not.
        log.warning("monitor.source_failed", source=breaker.name, error=type(error).__name__)
        return Answer(reason=f"{breaker.name} refuses: {type(error).__name__}")
