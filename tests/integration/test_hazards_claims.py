"""Hazards 6, 7 and 15: a real child dies at each of its writes; Redis and MongoDB disagree at random."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from hazard_parts import POOL, age, environment, held_ids, open_stores
from whole import assert_sound_log

from headrace.contracts.config import JobConfig
from headrace.contracts.job import Job
from headrace.contracts.states import JobState, Reason
from headrace.recovery.full import FullPass
from headrace.recovery.ghosts import Suspects
from headrace.recovery.mend import Mender
from headrace.recovery.orphans import OrphanDuty
from headrace.recovery.parts import Parts
from headrace.recovery.pools import Pools
from headrace.recovery.sweep import SweepDuty
from headrace.runtime.process.ids import new_incarnation, new_token
from headrace.runtime.queue import Entry, Keys
from headrace.runtime.store.values import Settlement
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually
from headrace.worker.child_process import ChildProcess, Ending
from headrace.worker.pools import ChildPlan

LONG_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
NOOP = ("noop",)


@pytest.fixture
async def stores(config: JobConfig) -> AsyncIterator[Parts]:
    async with open_stores(config) as parts:
        yield parts


class Supervisor:
    """What a supervisor does for one child: its lease before, the word about its death after."""

    def __init__(self, config: JobConfig, stores: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
        self._config = config
        self._stores = stores
        self._monkeypatch = monkeypatch

    async def start(self, **settings: str) -> ChildProcess:
        """A child of the pool with one slot."""
        incarnation = new_incarnation()
        await self._stores.incarnations.register(
            incarnation, service="s", host="h", pool=POOL, types=NOOP, slots=1, version="0", lease_seconds=60
        )
        with self._monkeypatch.context() as patch:
            for name, value in environment(self._config, **settings).items():
                patch.setenv(name, value)
            return ChildProcess.spawn(incarnation, ChildPlan(POOL, NOOP, 1), grace_seconds=1)

    async def bury(self, child: ChildProcess) -> Ending:
        """Wait for its end and say so."""
        async with asyncio.timeout(30):
            ending = await child.ended
        await self._stores.incarnations.mark_dead(
            child.incarnation, exit_record=ending.record, running=[started.job_id for started in ending.running]
        )
        child.board.close()
        return ending


async def submit(stores: Parts, job: Job) -> None:
    await stores.jobs.insert([job])
    await stores.queue.enqueue(POOL, [Entry(job.id, job.ready_score)])


async def make_old(config: JobConfig, stores: Parts) -> None:
    """Let every change and every claim be older than the patience of the sweep."""
    await age(config, stores, seconds=30)
    await stores.database.jobs.update_many({}, {"$set": {"updated_at": LONG_AGO}})


POINTS = {
    # what the death leaves: state, attempt, place in Redis; what the job's second life costs
    "worker.after_pop": ("queued", 0, "inflight", 1, 0),
    "worker.after_claim": ("processing", 1, "inflight", 2, 0),
    "worker.job_started": ("processing", 1, "inflight", 2, 1),
    "worker.before_settle": ("processing", 1, "inflight", 2, 0),
    "worker.after_settle": ("completed", 1, "inflight", 1, 0),
}


async def test_hazard_6_a_child_that_dies_at_any_write_loses_nothing(
    config: JobConfig, stores: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deaths as by SIGKILL after the pop, after the claim, at the start, before and after the settlement (I1, I2)."""
    supervisor = Supervisor(config, stores, monkeypatch)
    jobs = {}
    for point, (state, attempt, place, _, _) in POINTS.items():
        job = jobs[point] = make_job()
        await submit(stores, job)
        ending = await supervisor.bury(await supervisor.start(JOB_FAILPOINTS=f"{point}=exit137"))
        assert ending.record.code == 137, point
        document = await stores.reads.job(job.id)
        (located,) = await stores.queue.locate(POOL, [job.id])
        assert (document.state, document.attempt, located.place) == (state, attempt, place), point

    await make_old(config, stores)
    pools, suspects = Pools(stores), Suspects()
    await OrphanDuty(stores).run_once()
    await SweepDuty(stores, pools, suspects).run_once()
    child = await supervisor.start()

    async def all_over() -> bool:
        return await stores.database.jobs.count_documents({"state": "completed"}) == len(jobs)

    await eventually(all_over, within=30)
    child.ask_to_end()
    assert (await supervisor.bury(child)).record.kind == "graceful"
    for point, (_, _, _, attempts, crashes) in POINTS.items():
        document = await stores.database.jobs.find_one({"_id": jobs[point].id})
        assert_sound_log(document)
        assert (document["attempt"], document["crashes"]) == (attempts, crashes), point
    assert await held_ids(stores) == {}


@pytest.mark.slow
async def test_hazard_7_whatever_two_stores_disagree_about_every_job_ends(config: JobConfig, stores: Parts) -> None:
    """100 jobs, each with one part of its state taken away, doubled or forged at random; one recovery, one worker."""
    dice = random.Random(7)
    redis, keys = stores.queue._redis, Keys(config.namespace).pool(POOL)
    jobs = [make_job(updated_at=LONG_AGO) for _ in range(100)]
    await stores.jobs.insert(jobs)
    await stores.queue.enqueue(POOL, [Entry(job.id, job.ready_score) for job in jobs])
    token = new_token()
    taken = (await stores.queue.claim(POOL, token=token, count=50)).ids
    await stores.jobs.claim(taken[:25], token=token, owner="w-gone", types=NOOP)  # the others were only popped
    for job in jobs:
        match dice.randrange(6):
            case 0:
                await redis.zrem(keys.ready, job.id)
            case 1:
                await redis.zrem(keys.inflight, job.id)
            case 2:
                await redis.hdel(keys.holder, job.id)
            case 3:
                await redis.zadd(keys.ready, {job.id: dice.randrange(2**43)})
            case 4:
                await redis.zadd(keys.delayed, {job.id: 2**45})
            case _:
                await redis.hset(keys.holder, job.id, "forged")
    await make_old(config, stores)

    pools, suspects = Pools(stores), Suspects()
    duties = [
        OrphanDuty(stores),
        SweepDuty(stores, pools, suspects),
        FullPass(stores, pools, Mender(stores, suspects)),
    ]
    starts: list[tuple[str, int]] = []

    async def all_over() -> bool:
        await make_old(config, stores)
        for duty in duties:
            await duty.run_once()
        await work_off(stores, starts)
        return await stores.database.jobs.count_documents({"state": "completed"}) == len(jobs)

    await eventually(all_over, within=30, every=0.1)
    assert len(starts) == len(set(starts)) == len(jobs), "each attempt was handed out once"
    for job in jobs:
        assert_sound_log(await stores.database.jobs.find_one({"_id": job.id}))
    await make_old(config, stores)
    await duties[-1].run_once()
    assert await held_ids(stores) == {}


async def work_off(stores: Parts, starts: list[tuple[str, int]]) -> None:
    """Claim and complete what can be had, by the worker's own calls; leave the refused ids in flight."""
    while True:
        token = new_token()
        ids = (await stores.queue.claim(POOL, token=token, count=10)).ids
        if not ids:
            return
        mine = await stores.jobs.claim(ids, token=token, owner="w-new", types=NOOP)
        starts += [(job.id, job.attempt) for job in mine]
        await stores.jobs.settle(
            [Settlement(job.id, job.attempt, JobState.COMPLETED, Reason.COMPLETED) for job in mine], by="w-new"
        )
        await stores.queue.settle(POOL, [job.id for job in mine])
