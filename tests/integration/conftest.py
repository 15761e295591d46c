"""Whole systems for tests: real stores, the four services as processes, everything on loopback.

One system serves a whole file (`whole`), because a start takes seconds: every test leaves it healthy, which is a claim
about the system as well. A test that needs settings of its own, or ends a part for good, starts its own (`start`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from real_site import RealSite, find_folder
from whole import StartWhole, Whole, start_whole


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole() -> AsyncIterator[Whole]:
    """The system that all tests of a file share."""
    async with start_whole({}) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def start() -> AsyncIterator[StartWhole]:
    """Start a system with settings of the test's own; it is stopped afterwards, whatever happened."""
    async with AsyncExitStack() as stack:

        async def start_one(**settings: str) -> Whole:
            return await stack.enter_async_context(start_whole(settings))

        yield start_one


@pytest_asyncio.fixture(loop_scope="module")
async def real_site() -> AsyncIterator[RealSite]:
    """Debian's Python documentation, served on loopback."""
    folder = find_folder()
    if folder is None:
        pytest.skip("the Debian package python3-doc is not installed")
    async with RealSite(folder).serve() as site:
        yield site
