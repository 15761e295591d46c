from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from . import acts_links
from .history import PlannedFault
from .nemesis import DidNotFire, Ground
from .proxy import Link

CUT = PlannedFault("f1", 1.0, "cut", "link:scheduler>redis", 2.0, {"bytes": "3", "direction": "up", "number": "0"})


class FewParts:
    """As much of a stack as faults of links look at: two schedulers with a link each."""

    def __init__(self) -> None:
        self.parts = [SimpleNamespace(name=f"scheduler-{number}", wanted=True) for number in range(2)]
        self.by_name = {f"{part.name}>redis": Link(f"{part.name}>redis", 1) for part in self.parts}
        self.clock = SimpleNamespace(now=lambda: 7.0)

    def of_role(self, role: str) -> list[Any]:
        return self.parts if role == "scheduler" else []

    def links(self, pattern: str) -> list[Link]:
        return [self.by_name[pattern]] if pattern in self.by_name else []


@pytest.fixture
def stack() -> FewParts:
    return FewParts()


@pytest.fixture
def ground(stack: FewParts) -> Ground:
    return cast("Ground", SimpleNamespace(stack=stack))


async def test_a_fault_whose_victim_is_lost_for_good_moves_to_another(stack: FewParts, ground: Ground) -> None:
    hit = await acts_links.cut(ground, CUT)
    assert (hit.detail, hit.at) == ("scheduler-0>redis", None)
    assert hit.heal is not None
    healing = asyncio.create_task(cast("Any", hit.heal()))
    stack.parts[0].wanted = False
    await asyncio.sleep(2 * acts_links.LOOK_S)
    assert await stack.by_name["scheduler-0>redis"].up.pass_on(b"hello") == (b"hello", False)
    assert await stack.by_name["scheduler-1>redis"].up.pass_on(b"hello") == (b"hel", True)
    assert await healing == "1 times"
    assert (hit.detail, hit.at) == ("scheduler-1>redis", 7.0), "what counts is where and when it took hold"


async def test_a_fault_that_touches_nothing_did_not_fire(
    stack: FewParts, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts_links, "HOLD_S", 0.3)
    hit = await acts_links.cut(ground, CUT)
    assert hit.heal is not None
    with pytest.raises(DidNotFire, match="nothing went over scheduler-0>redis"):
        await hit.heal()
    assert await stack.by_name["scheduler-0>redis"].up.pass_on(b"hello") == (b"hello", False)


async def test_the_ends_of_two_faults_of_one_link_do_not_meet(stack: FewParts, ground: Ground) -> None:
    """One that ended took the other with it, which then waited for nothing."""
    late = PlannedFault("f0", 0.5, "latency", CUT.target, 1.0, {"ms": "1", "direction": "up", "number": "0"})
    first, second = await acts_links.latency(ground, late), await acts_links.cut(ground, CUT)
    assert first.heal is not None
    assert second.heal is not None
    link = stack.by_name["scheduler-0>redis"]
    assert await link.up.pass_on(b"he") == (b"he", False)
    assert await first.heal() == "1 times"
    assert await link.up.pass_on(b"llo") == (b"l", True)
    assert await second.heal() == "1 times"
