"""Hazard 16: fifty rolling restarts of worker services under load, and some that a SIGKILL cuts short."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hazard_parts import held_ids, open_stores
from rolling import SLOTS, Fleet, Load, Service, recovery_beside
from whole import assert_sound_log

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import ExecutionPolicy
from headrace.local.service import ServiceProcess
from headrace.recovery.parts import Parts
from headrace.runtime.store.job_types import JobType
from headrace.testing.eventually import eventually
from headrace.testing.executors import TEST_POOL, read_effects

pytestmark = pytest.mark.slow

RESTARTS = 50
KILLS = 8
LANES = 2
BURST = 120
"""Jobs that are added when few wait: enough for every service to claim ahead."""
BACK_SECONDS = 2.0


@pytest.fixture
async def stores(config: JobConfig) -> AsyncIterator[Parts]:
    async with open_stores(config) as parts:
        await parts.job_types.register([JobType("test.sleep", ExecutionPolicy(pool=TEST_POOL), {})])
        assert await parts.queue.finish_rebuild(TEST_POOL, await parts.queue.begin_rebuild(TEST_POOL))
        yield parts


@pytest.fixture
def fleet(config: JobConfig, stores: Parts, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(config, stores, tmp_path)
    yield fleet
    fleet.close()


@pytest.fixture
def recovery(fleet: Fleet, tmp_path: Path) -> Iterator[ServiceProcess]:
    with recovery_beside(fleet, tmp_path / "recovery.log") as process:
        yield process


class Deploy:
    """Restarts services one after another, each in its turn, while the others work."""

    def __init__(self, fleet: Fleet, load: Load) -> None:
        self._fleet, self._load = fleet, load
        self._stores = fleet.stores
        self.back_seconds: list[float] = []
        """From each SIGTERM until nothing was held by the children of that service any more."""

    async def run(self, restarts: int, stop: Callable[[Service, list[str]], Any]) -> list[Service]:
        """One lane: two services, which are restarted in turn. Returns those that run at the end."""
        works, next_ = self._fleet.start(), self._fleet.start()
        for _ in range(restarts):
            await stop(next_, await self._until_it_claims_ahead(next_))
            works, next_ = self._fleet.start(), works
        return [works, next_]

    async def gently(self, service: Service, names: list[str]) -> None:
        """SIGTERM, and nothing else."""
        began = time.monotonic()
        service.terminate()
        await eventually(lambda: self._nothing_held(names), within=BACK_SECONDS, every=0.01)
        self.back_seconds.append(time.monotonic() - began)
        assert await service.ended(within=20) == 0

    async def _until_it_claims_ahead(self, service: Service) -> list[str]:
        """Wait until its children hold more jobs than they can run, so that a stop finds some unstarted."""
        names: list[str] = []

        async def does() -> bool:
            names[:] = names or service.incarnations()
            if sum((await self._stores.queue.depths(TEST_POOL)).waiting.values()) < BURST / 2:
                await self._load.add(BURST)
            return len(await self._tokens(names)) > 2 * SLOTS

        await eventually(does, within=90, every=0.05, what="claims ahead")
        return names

    async def _tokens(self, names: list[str]) -> list[str]:
        """What Redis says these children hold."""
        tokens = await self._stores.queue._redis.hvals(self._stores.queue._keys.pool(TEST_POOL).holder)
        return [token for token in tokens if token.rpartition(".")[0] in names]

    async def _nothing_held(self, names: list[str]) -> bool:
        """Neither store names these children any more, so whatever they gave back waits."""
        held = await self._tokens(names)
        held += [job["_id"] async for job in self._stores.database.jobs.find({"owner": {"$in": names}}, {"_id": 1})]
        assert held == []
        return True


async def all_completed(stores: Parts, load: Load, *, within: float) -> list[dict[str, Any]]:
    async def probe() -> bool:
        done = await stores.database.jobs.count_documents({"state": "completed"})
        assert done == load.submitted, (done, load.submitted)
        return True

    await eventually(probe, within=within, every=0.05)
    return [job async for job in stores.database.jobs.find({})]


async def nothing_held(stores: Parts, *, within: float) -> None:
    """Redis hears of an end after MongoDB: from the worker, or, when that was killed in between, from recovery."""

    async def probe() -> bool:
        assert await held_ids(stores, TEST_POOL) == {}
        return True

    await eventually(probe, within=within, every=0.05)


async def test_hazard_16_fifty_rolling_restarts_under_load_lose_nothing_and_start_nothing_twice(
    record_property: Callable[[str, object], None], fleet: Fleet, stores: Parts, tmp_path: Path
) -> None:
    load = Load(stores, tmp_path / "effects", seed=16)
    deploy = Deploy(fleet, load)
    await load.add(BURST)
    await asyncio.gather(*(deploy.run(RESTARTS // LANES, deploy.gently) for _ in range(LANES)))
    jobs = await all_completed(stores, load, within=20)

    assert len(deploy.back_seconds) == RESTARTS
    starts = Counter(job_id for job_id, _, _, phase in read_effects(load.effects) if phase == "start")
    assert set(starts.values()) == {1}, "a graceful stop alone starts nothing twice"
    handed_back = 0
    for job in jobs:
        assert_sound_log(job)
        reasons = Counter(entry["reason"] for entry in job["log"])
        assert set(reasons) <= {"submitted", "claimed", "released", "completed"}, reasons
        assert (job["attempt"], job["failures"], job["crashes"]) == (1 + reasons["released"], 0, 0)
        handed_back += reasons["released"]
    assert handed_back >= RESTARTS, "the stops hit jobs that were claimed and had not started"
    await nothing_held(stores, within=5)
    assert fleet.complaints() == []
    record_property("jobs", len(jobs))
    record_property("handed_back", handed_back)
    record_property("slowest_hand_back_seconds", round(max(deploy.back_seconds), 3))


async def test_hazard_16_a_sigkill_inside_the_grace_costs_a_second_start_of_its_own_jobs_alone(
    fleet: Fleet, stores: Parts, recovery: ServiceProcess, tmp_path: Path
) -> None:
    """The whole host dies at a seeded moment of its drain."""
    dice = random.Random(16)
    load = Load(stores, tmp_path / "effects", seed=17)
    deploy = Deploy(fleet, load)
    killed: set[str] = set()

    async def brutally(service: Service, names: list[str]) -> None:
        service.terminate()
        await asyncio.sleep(dice.uniform(0, 0.08))
        service.kill()
        killed.update(names)

    await load.add(BURST)
    await asyncio.gather(*(deploy.run(KILLS // LANES, brutally) for _ in range(LANES)))
    jobs = await all_completed(stores, load, within=60)

    starts = Counter(job_id for job_id, _, _, phase in read_effects(load.effects) if phase == "start")
    taken_away = 0
    for job in jobs:
        assert_sound_log(job)
        lost = sum(entry["to"] == "processing" and entry["owner"] in killed for entry in job["log"])
        assert 1 <= starts[job["_id"]] <= 1 + lost, job["log"]
        taken_away += sum(entry["reason"] == "host_lost" for entry in job["log"])
    assert taken_away > 0, "a kill hit a service that still held jobs"
    await nothing_held(stores, within=60)
