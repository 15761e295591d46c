"""A clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from headrace.testing.clock import FakeClock


async def test_time_passes_only_when_it_is_told_to() -> None:
    clock = FakeClock(datetime(2031, 5, 1, tzinfo=UTC))
    assert (clock(), clock.monotonic()) == (0.0, 0.0)
    clock.advance(90)
    assert clock() == 90.0
    assert clock.now() == datetime(2031, 5, 1, tzinfo=UTC) + timedelta(seconds=90)
    with pytest.raises(ValueError, match="cannot advance by -1 s"):
        clock.advance(-1)


async def test_sleepers_wake_when_their_time_has_come_the_earliest_first() -> None:
    clock, order = FakeClock(), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        order.append(seconds)

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2, 9, 0)]
    gone = asyncio.create_task(sleeper(1))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.sleep(0.01)
    assert (order, clock.sleepers) == ([0], 4)
    clock.advance(2.5)
    await asyncio.sleep(0.01)
    assert order == [0, 1, 2]
    clock.advance(100)
    await asyncio.gather(*tasks)
    assert (order, clock.sleepers) == ([0, 1, 2, 3, 9], 0)
