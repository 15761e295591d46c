"""Reading ahead: the same pages in the same order, errors in their place, nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from headrace.recovery.read_ahead import DEPTH, read_ahead
from headrace.testing.eventually import eventually


class Source:
    """Pages 0, 1, 2 …; knows how many were asked for, and whether it was closed."""

    def __init__(self, count: int, *, fails: bool = False) -> None:
        self.count, self.fails, self.read, self.closed = count, fails, 0, False

    async def pages(self) -> AsyncGenerator[int, None]:
        try:
            for page in range(self.count):
                self.read += 1
                yield page
            if self.fails:
                raise ValueError("the store is gone")
        finally:
            self.closed = True


@pytest.mark.parametrize("count", [0, 1, DEPTH, 20])
async def test_pages_come_in_their_order_and_the_source_is_closed(count: int) -> None:
    source = Source(count)
    async with read_ahead(source.pages()) as pages:
        assert [page async for page in pages] == list(range(count))
    assert source.closed


async def test_pages_are_read_before_they_are_asked_for_but_not_without_bound() -> None:
    source = Source(100)
    async with read_ahead(source.pages()) as pages:
        await eventually(lambda: source.read == DEPTH + 1)
        await asyncio.sleep(0.02)
        assert source.read == DEPTH + 1
        assert [page async for page in pages] == list(range(100))


async def test_an_error_comes_after_the_pages_before_it() -> None:
    source = Source(5, fails=True)
    async with read_ahead(source.pages()) as pages:
        assert [await anext(pages) for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(ValueError, match="the store is gone"):
            await anext(pages)
    assert source.closed


async def test_whoever_stops_early_leaves_nothing_behind() -> None:
    source = Source(100)
    before = asyncio.all_tasks()
    async with read_ahead(source.pages()) as pages:
        async for page in pages:
            if page == 3:
                break
    assert source.closed
    assert asyncio.all_tasks() == before
    assert source.read < 10


async def test_an_error_that_nobody_asked_for_is_dropped() -> None:
    source = Source(1, fails=True)
    async with read_ahead(source.pages()):
        await eventually(lambda: source.closed)
