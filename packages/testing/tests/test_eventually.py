from __future__ import annotations

import pytest

from headrace.testing.eventually import eventually


async def test_it_returns_the_first_true_value() -> None:
    values = iter([0, None, 7])
    assert await eventually(lambda: next(values), every=0) == 7


async def test_a_failing_assertion_counts_as_not_yet() -> None:
    calls = 0

    async def probe() -> bool:
        nonlocal calls
        calls += 1
        assert calls > 2
        return True

    assert await eventually(probe, every=0)


async def test_the_failure_names_the_last_value() -> None:
    with pytest.raises(AssertionError, match="three sheep; last: 0"):
        await eventually(lambda: 0, within=0.01, every=0.001, what="three sheep")
