"""Schedules break no promise; a schedule can be run again; mistakes made on purpose are found."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from contextvars import Context
from pathlib import Path

import pytest
from tests.simulation.loop import ACTOR, NothingHappensError, SimLoop
from tests.simulation.mutants import MUTANTS
from tests.simulation.plan import seeds_of
from tests.simulation.run import run_many, run_seed

QUICK = 20
MANY = 600


def violations(seeds: range) -> list[str]:
    """What schedules broke, with the command that shows it."""
    return [
        f"python -m tests.simulation -v --seed {outcome.plan.seed}: {outcome.violations}"
        for outcome in run_many(seeds)
        if outcome.violations
    ]


def test_schedules_break_no_promise() -> None:
    assert violations(range(QUICK)) == []


@pytest.mark.slow
def test_many_schedules_break_no_promise() -> None:
    assert violations(range(QUICK, QUICK + MANY)) == []


def found(name: str) -> None:
    """One of a theme's schedules shows the mistake, and for the right reason."""
    mutant = MUTANTS[name]
    outcomes = run_many(seeds_of(mutant.theme, mutant.within), mutant=name, stop_at_first=True)
    assert any(text.startswith(mutant.finds) for text in outcomes[-1].violations), outcomes[-1].violations


@pytest.mark.parametrize("name", [name for name, mutant in MUTANTS.items() if mutant.is_quick])
def test_a_mistake_is_found(name: str) -> None:
    found(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, mutant in MUTANTS.items() if not mutant.is_quick])
def test_a_rarer_mistake_is_found(name: str) -> None:
    found(name)


def test_a_seed_is_run_again_as_it_was() -> None:
    """Call by call, at the same times."""
    first, again = run_seed(7, is_verbose=True), run_seed(7, is_verbose=True)
    assert len(first.trace) > 50
    assert first.trace == again.trace


@pytest.mark.slow
def test_a_seed_is_the_same_in_another_process() -> None:
    """Whatever order Python gives to sets there."""
    here = [outcome.digest for outcome in run_many(range(12))]
    code = "from tests.simulation.run import run_many; print(*(o.digest for o in run_many(range(12))))"
    for hash_seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.split() == here


def in_loop(seed: int, *names: str, killed: str = "", frozen: str = "") -> list[str]:
    """The order in which actors go on that each take three turns."""
    loop, said = SimLoop(random.Random(seed)), []

    async def turns(name: str) -> None:
        for _ in range(3):
            said.append(name)
            await asyncio.sleep(1)

    async def main() -> None:
        for name in names:
            context = Context()
            context.run(ACTOR.set, name)
            loop.create_task(turns(name), context=context)
        await asyncio.sleep(0.5)
        if killed:
            loop.kill(killed)
        if frozen:
            loop.freeze(frozen, 5.0)
        await asyncio.sleep(20)
        await loop.bury()

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return said


def test_the_seed_decides_who_goes_on() -> None:
    orders = {tuple(in_loop(seed, "a", "b")) for seed in range(20)}
    assert len(orders) > 5
    assert all(sorted(order) == ["a"] * 3 + ["b"] * 3 for order in orders)


def test_a_killed_actor_does_nothing_more_and_a_stopped_one_goes_on_later() -> None:
    assert in_loop(0, "a", "b", killed="a").count("a") == 1
    assert in_loop(0, "a", "b", frozen="a")[-2:] == ["a", "a"]


def test_time_passes_only_when_nobody_can_go_on() -> None:
    loop = SimLoop(random.Random(0))
    began = loop.time()
    try:
        loop.run_until_complete(asyncio.sleep(3600))
        assert loop.time() == began + 3600
    finally:
        loop.close()


def test_what_waits_for_nothing_is_said() -> None:
    loop = SimLoop(random.Random(0))
    try:
        with pytest.raises(NothingHappensError):
            loop.run_until_complete(loop.create_future())
    finally:
        loop.close()
