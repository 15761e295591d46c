"""History grows coarser: what was stored fine is added up once, when it is complete."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from recovery_stage import Stage, open_stage

from headrace.contracts.config import JobConfig
from headrace.recovery import rollup
from headrace.recovery.rollup import LATE, RollupDuty
from headrace.runtime.store.history import COARSE_SECONDS, FINE_SECONDS, MIDDLE_SECONDS, History
from headrace.runtime.store.history_values import Levels, Sample, floor_to

HOUR = timedelta(hours=1)


async def sampled(stage: Stage, *, ago: timedelta, count: int) -> datetime:
    """Fine samples of one type and its pool's levels from a full hour on that began about `ago`; returns that hour."""
    history = History(stage.parts.database)
    await history.ensure()
    begin = floor_to(await stage.parts.reconcile.now() - ago, COARSE_SECONDS)
    samples: list[Sample] = []
    for n in range(count):
        at = begin + timedelta(seconds=n * FINE_SECONDS)
        samples.append(Sample(at=at, seconds=FINE_SECONDS, pool="p", type="noop", counts={"completed": 2}, run={40: 1}))
        samples.append(Sample(at=at, seconds=FINE_SECONDS, pool="p", levels=Levels(high=n % 3)))
    await history.write(samples)
    return begin


async def stored(stage: Stage, seconds: int) -> list[Sample]:
    now = await stage.parts.reconcile.now()
    return await History(stage.parts.database).read(seconds, since=now - timedelta(days=2), until=now)


async def test_samples_become_intervals_of_five_minutes_and_of_hours(stage: Stage) -> None:
    begin = await sampled(stage, ago=3 * HOUR, count=360)
    counts = await RollupDuty(stage.parts).run_once()
    assert counts == {"history_rolled_up": 2 * 12 + 2}
    middle = [sample for sample in await stored(stage, MIDDLE_SECONDS) if sample.type]
    assert [sample.at for sample in middle] == [begin + timedelta(minutes=5 * n) for n in range(12)]
    assert {sample.counts["completed"] for sample in middle} == {60}
    hour, levels = sorted(await stored(stage, COARSE_SECONDS), key=lambda sample: sample.type or "~")
    assert (hour.at, hour.counts, hour.run) == (begin, {"completed": 720}, {40: 360})
    assert levels.levels is not None
    assert levels.peaks is not None
    assert (levels.levels.high, levels.peaks.high) == (1, 2)


async def test_nothing_is_added_up_twice_and_nothing_that_is_not_complete(stage: Stage) -> None:
    await sampled(stage, ago=timedelta(0), count=1)  # this very hour: maybe complete in part
    await sampled(stage, ago=2 * HOUR, count=30)
    duty = RollupDuty(stage.parts)
    await duty.run_once()
    now = await stage.parts.reconcile.now()
    for seconds in (MIDDLE_SECONDS, COARSE_SECONDS):
        for sample in await stored(stage, seconds):
            assert sample.at + timedelta(seconds=seconds) <= now - LATE
    before = await stage.parts.database.handle["queue_history_5m"].count_documents({})
    assert await duty.run_once() == {}
    assert await RollupDuty(stage.parts).run_once() == {}, "nor by a new leader"
    assert await stage.parts.database.handle["queue_history_5m"].count_documents({}) == before


async def test_a_long_silence_is_walked_through_and_not_walked_through_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More empty stretches than one pass looks at must not keep what comes behind them from being added up."""
    monkeypatch.setattr(rollup, "MAX_STRETCHES", 2)
    await sampled(stage, ago=2 * HOUR, count=30)
    duty = RollupDuty(stage.parts)
    passes = 0
    while not await stored(stage, MIDDLE_SECONDS):
        await duty.run_once()
        passes += 1
        assert passes < 20
    assert passes > 5


async def test_two_leaders_add_up_the_same(stage: Stage, config: JobConfig) -> None:
    await sampled(stage, ago=3 * HOUR, count=360)
    async with open_stage(config) as other:
        await asyncio.gather(*(RollupDuty(one.parts).run_once() for one in (stage, other)))
    await RollupDuty(stage.parts).run_once()
    hours = [sample for sample in await stored(stage, COARSE_SECONDS) if sample.type]
    assert [sample.counts["completed"] for sample in hours] == [720]
