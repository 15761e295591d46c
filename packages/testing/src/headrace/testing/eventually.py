"""Wait for a fact instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    probe: Callable[[], Awaitable[T] | T], *, within: float = 10.0, every: float = 0.02, what: str = ""
) -> T:
    """Call `probe` until it returns something true, and return that.

    An `AssertionError` of the probe counts as "not yet", so a probe may consist of asserts (and return True).

    Args:
        probe: A plain or a coroutine function.
        within: Seconds until it must hold.
        every: Seconds between two calls.
        what: Said in the failure.

    Raises:
        AssertionError: It did not hold in time; the message carries the last value or failure.
    """
    deadline = time.monotonic() + within
    last: object = None
    while True:
        try:
            found = probe()
            value: T = await found if inspect.isawaitable(found) else found
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what or getattr(probe, '__name__', probe)}; last: {last!r}")
        await asyncio.sleep(every)
