"""Hazards 2, 3, 4, 21 and 29: taking jobs in while schedulers die, replies get lost and clients hang up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from hazard_parts import POOL, LosingWire, age, held_ids, open_stores, scheduler_here, scheduler_process

from headrace.client.aio import Client
from headrace.contracts.config import JobConfig
from headrace.recovery.ghosts import Suspects
from headrace.recovery.mend import Mender
from headrace.recovery.parts import Parts
from headrace.recovery.pools import Pools
from headrace.recovery.recent import RecentDuty
from headrace.recovery.reservations import ReservationDuty
from headrace.runtime.process import failpoints
from headrace.testing.eventually import eventually

BODY = {"type": "any", "payload": 1}


@pytest.fixture
async def stores(config: JobConfig) -> AsyncIterator[Parts]:
    async with open_stores(config) as parts:
        yield parts


@pytest.fixture
def armed() -> Iterator[None]:
    """Failpoints of this process are off again after the test."""
    yield
    failpoints.install("")


async def count(stores: Parts) -> int:
    return int(await stores.database.jobs.count_documents({}))


async def test_hazard_2_an_id_waits_only_once_its_document_is_stored(
    config: JobConfig, stores: Parts, armed: None
) -> None:
    """A worker that is faster than the commit would find no job; until then the id is a place and nothing more."""
    async with scheduler_here(config) as url, Client(url) as client:
        failpoints.install("before_mongo_insert=sleep:200")
        posted = asyncio.create_task(client.submit("any", 1))
        await eventually(lambda: held_ids(stores))
        assert await count(stores) == 0
        assert list((await held_ids(stores)).values()) == [["reserved"]]
        job = await posted
    assert await held_ids(stores) == {job.id: ["ready"]}


async def test_hazard_2_a_scheduler_killed_after_the_insert_loses_nothing(
    config: JobConfig, stores: Parts, tmp_path: Path
) -> None:
    """The client hears nothing, the job is stored, its place counts; recovery pushes it within seconds (A8, B6)."""
    arm = {"JOB_FAILPOINTS": "after_mongo_insert=exit137"}
    async with scheduler_process(config, tmp_path / "log", **arm) as doomed, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"{doomed.url}/v1/jobs", json=BODY)
        await eventually(lambda: doomed.exit_code == 137)
    document = await stores.database.jobs.find_one({})
    assert await held_ids(stores) == {document["_id"]: ["reserved"]}
    past = [{"$set": {"updated_at": {"$subtract": ["$$NOW", 10_000]}}}]  # its scheduler had time enough to push it
    await stores.database.jobs.update_one({}, past)
    assert await RecentDuty(stores, Mender(stores, Suspects())).run_once() == {"missing": 1}
    assert await held_ids(stores) == {document["_id"]: ["ready"]}


async def test_hazard_3_lost_replies_and_repeats_make_one_job_per_key(config: JobConfig, stores: Parts) -> None:
    """A fifth of all replies is lost after the server sent them; the client sends again, with the same key."""
    dice = random.Random(3)
    async with scheduler_here(config) as url:
        wire = LosingWire(urlsplit(url).port or 0, lambda: dice.random() < 0.2)
        async with wire.serve() as lossy:

            async def submit(n: int) -> str:
                async with Client(lossy, tries=10) as client:  # a connection each, so a dice each
                    return (await client.submit("any", n, idempotency_key=f"key-{n}")).id

            ids = await asyncio.gather(*(submit(n) for n in range(60)))
    assert wire.lost >= 5, "the planned fault fired"
    assert len(set(ids)) == 60
    assert set(await stores.database.jobs.distinct("_id")) == set(ids)


async def test_hazard_4_clients_that_hang_up_leave_nothing_or_a_whole_job(config: JobConfig, stores: Parts) -> None:
    """300 posts, each cut after a moment: every answer is about its own question, every job is stored and waits."""
    dice = random.Random(4)
    answered: dict[str, str] = {}
    gate = asyncio.Semaphore(20)
    async with scheduler_here(config) as url, aiohttp.ClientSession() as session:

        async def post(n: int) -> None:
            body = BODY | {"tags": {"n": str(n)}}
            # How many of 50 ms are enough depends on the machine; one in ten is never cut, and one in ten at once.
            patience = {0: None, 1: 0.0}.get(n % 10, dice.uniform(0, 0.05))
            async with gate:
                with suppress(TimeoutError):
                    async with asyncio.timeout(patience):
                        async with session.post(f"{url}/v1/jobs", json=body) as response:
                            view = await response.json()
                            assert response.status == 201, view
                            assert view["tags"] == {"n": str(n)}, "somebody else's answer"
                            answered[view["id"]] = str(n)

        await asyncio.gather(*(post(n) for n in range(300)))
        async with session.post(f"{url}/v1/jobs", json=BODY | {"tags": {"n": "last"}}) as response:
            assert (await response.json())["tags"] == {"n": "last"}

        async def agrees() -> bool:
            stored = set(await stores.database.jobs.distinct("_id"))
            return await held_ids(stores) == {job_id: ["ready"] for job_id in stored}

        await eventually(agrees)
    documents = [document async for document in stores.database.jobs.find({}, {"tags": 1, "state": 1})]
    numbers = [document["tags"]["n"] for document in documents]
    assert len(numbers) == len(set(numbers)), "one job per post"
    assert set(answered) <= {document["_id"] for document in documents}
    assert 30 <= len(answered) <= 270, "some were cut and some were not"


async def test_hazard_29_a_killed_scheduler_gives_its_place_back_and_the_bound_is_never_passed(
    config: JobConfig, stores: Parts, tmp_path: Path
) -> None:
    """Killed between reserve and insert (A8): the place counts until recovery has looked, then somebody gets it."""
    bound = 40
    limited = config.model_copy(update={"queue_size_limit": bound})
    arm = {"JOB_FAILPOINTS": "after_reserve=exit137"}
    async with scheduler_process(limited, tmp_path / "log", **arm) as doomed, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"{doomed.url}/v1/jobs", json=BODY)
        await eventually(lambda: doomed.exit_code == 137)
    most = 0
    stop = asyncio.Event()

    async def sample() -> None:
        nonlocal most
        while not stop.is_set():
            most = max(most, await stores.reads.count_pending(POOL, cap=1000))

    async with scheduler_here(limited) as one, scheduler_here(limited) as two, aiohttp.ClientSession() as session:

        async def post(n: int) -> int:
            async with session.post(f"{(one, two)[n % 2]}/v1/jobs", json=BODY) as response:
                await response.read()
                return response.status

        sampling = asyncio.create_task(sample())
        statuses = await asyncio.gather(*(post(n) for n in range(64)))
        assert (statuses.count(201), statuses.count(429)) == (bound - 1, 64 - bound + 1)
        await age(config, stores, seconds=1)
        assert await post(0) == 429, "an expired place counts until recovery has looked"
        assert await ReservationDuty(stores, Pools(stores)).run_once() == {"place_freed": 1}
        assert sorted([await post(0), await post(1)]) == [201, 429]
        stop.set()
        await sampling
        most = max(most, await stores.reads.count_pending(POOL, cap=1000))  # the last may have come after the last look
    assert most == bound


async def test_hazard_21_redis_never_sees_a_payload(config: JobConfig, stores: Parts) -> None:
    """Whatever is in Redis after a submission, the payload is not; so no payload can fill it."""
    canary = "canary-of-hazard-21"
    async with scheduler_here(config) as url, Client(url) as client:
        job = await client.submit("any", {"secret": canary * 100}, tags={"t": canary}, delay_seconds=60)
    redis = stores.queue._redis
    seen = 0
    async for key in redis.scan_iter(match=f"{config.namespace}*"):
        dump = await redis.execute_command("DUMP", key, NEVER_DECODE=True)
        assert canary.encode() not in dump, key
        seen += 1
    assert seen >= 2, "the id waits somewhere"
    assert (await held_ids(stores))[job.id] == ["delayed"]
