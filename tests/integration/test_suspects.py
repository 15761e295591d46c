"""Hazard 17: a job that kills its process takes nobody with it more than once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from whole import Whole

from headrace.testing.executors import read_effects

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest.mark.parametrize("how", ["signal", "segfault"])
async def test_hazard_17_a_pill_is_dead_after_three_starts_and_the_innocent_beside_it_all_succeed(
    whole: Whole, tmp_path: Path, how: str
) -> None:
    effects = tmp_path / "effects"
    innocent = [await whole.client.submit("test.sleep", {"seconds": 1.0}) for _ in range(4)]
    pill = await whole.client.submit("test.die", {"effects": str(effects), "after_seconds": 0.2, "how": how})
    innocent += [await whole.client.submit("test.sleep", {"seconds": 1.0}) for _ in range(3)]
    ended = await asyncio.gather(*(whole.client.wait(job.id, timeout=60) for job in [pill, *innocent]))
    dead, *others = ended
    assert (dead.state, dead.crashes) == ("failed", 3)
    assert dead.error is not None
    assert dead.error.type == "crash_loop"
    assert len(read_effects(effects)) == 3, "started exactly as often as allowed"
    assert [job.state for job in others] == ["completed"] * 7
    assert max(job.crashes for job in others) <= 1, "only the first crash had company"
    await whole.assert_sound(pill.id, *(job.id for job in innocent))
