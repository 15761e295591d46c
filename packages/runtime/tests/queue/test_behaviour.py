from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from behaviour import BEHAVIOURS


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda check: check.__name__)
async def test_the_redis_queue_behaves(behaviour: Callable[[Any], Awaitable[None]], harness: Any) -> None:
    """The suite that every queue passes."""
    await behaviour(harness)
