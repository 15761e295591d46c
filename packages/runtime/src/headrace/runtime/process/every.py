"""The one form of a background duty: a bounded pass, run again and again until told to stop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog

from headrace.contracts.errors import HeadraceError

MAX_BACKOFF_SECONDS = 1.0
"""A failing duty is tried at least this often (or at its own pace, if that is slower): outages end without notice, and
what is promised after one waits for this. Breakers keep a store that is away from being asked so often."""

log = structlog.get_logger(__name__)


async def every(
    seconds: float,
    run_once: Callable[[], Awaitable[object]],
    *,
    name: str,
    stop: asyncio.Event,
    jitter: float = 0.0,
) -> None:
    """Run a duty at once and then every `seconds`, from start to start, until `stop` is set.

    A pass that fails never ends the loop. It is logged when it begins to fail, when its error changes and when it
    works again; in between the loop is silent. Passes never overlap: one that takes longer than `seconds` is followed
    by the next after a tenth of the interval. A pass under way when `stop` is set is finished, so it must be bounded.

    Args:
        seconds: The interval.
        run_once: One bounded pass; its result is ignored.
        name: The duty, for logs.
        stop: Ends the loop.
        jitter: Each wait is varied by up to this share of it, so that many processes do not march in step.
    """
    failed_with: str | None = None
    failures = 0
    while not stop.is_set():
        began = time.monotonic()
        try:
            await run_once()
        except Exception as error:  # noqa: BLE001 -- a duty outlives every failure of a pass; this is where it is logged
            failures += 1
            if failed_with != (failed_with := type(error).__name__):
                _log_failure(name, error)
        else:
            if failed_with is not None:
                log.info("duty.recovered", duty=name, failures=failures)
            failed_with, failures = None, 0
        await stops_within(stop, _pause(seconds, time.monotonic() - began, failures, jitter))


def _log_failure(name: str, error: Exception) -> None:
    if isinstance(error, HeadraceError):
        log.warning("duty.failed", duty=name, error=type(error).__name__, detail=str(error))
    else:
        log.error("duty.failed", duty=name, error=type(error).__name__, exc_info=error)


def _pause(seconds: float, took_seconds: float, failures: int, jitter: float) -> float:
    if failures:
        pause = min(seconds * 2.0 ** min(failures - 1, 32), max(seconds, MAX_BACKOFF_SECONDS))
    else:
        pause = max(seconds - took_seconds, seconds / 10)
    return pause * (1 + random.uniform(-jitter, jitter))


async def stops_within(stop: asyncio.Event, seconds: float) -> bool:
    """Wait, and be told whether `stop` was set meanwhile. Returns as soon as it is."""
    try:
        await asyncio.wait_for(stop.wait(), timeout=seconds)
    except TimeoutError:
        return False
    return True
