"""The bound: exactly so many jobs that are not over, whoever asks at once, whatever Redis knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from headrace.runtime.store.database import Database

LIMIT = 50


def _limited(config, limit=LIMIT):
    return config.model_copy(update={"queue_size_limit": limit})


async def _race(*apis, clients=64, each=2):
    async def one(n):
        return [(await apis[n % len(apis)].post({"type": "any", "payload": n})).status for _ in range(each)]

    statuses = await asyncio.gather(*(one(n) for n in range(clients)))
    return [status for found in statuses for status in found]


async def test_sixty_four_clients_fill_exactly_the_bound(make_api, config, queue):
    api = await make_api(_limited(config))
    await api.complete()
    statuses = await _race(api)
    assert (statuses.count(201), statuses.count(429)) == (LIMIT, 128 - LIMIT)
    assert await api.count() == LIMIT
    assert (await queue.depths("default")).waiting["medium"] == LIMIT


async def test_two_schedulers_fill_exactly_the_bound(make_api, config):
    apis = [await make_api(_limited(config)) for _ in range(2)]
    await apis[0].complete()
    statuses = await _race(*apis)
    assert (statuses.count(201), statuses.count(429)) == (LIMIT, 128 - LIMIT)
    assert await apis[0].count() == LIMIT


async def test_while_redis_is_not_complete_one_scheduler_counts_in_mongodb_and_stays_exact(make_api, config, queue):
    api = await make_api(_limited(config))
    statuses = await _race(api)
    assert (statuses.count(201), statuses.count(429)) == (LIMIT, 128 - LIMIT)
    assert await api.count() == LIMIT
    # Pushed all the same: a rebuild only adds.
    assert (await queue.depths("default")).waiting["medium"] == LIMIT


async def test_a_full_queue_says_when_to_come_back_and_keeps_nothing(make_api, config):
    api = await make_api(_limited(config, 1))
    await api.complete()
    await api.submit()
    response = await api.post({"type": "any", "payload": 1})
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    await api.problem(response, 429, "queue-full")
    assert await api.count() == 1


async def test_running_and_delayed_jobs_count_and_ended_ones_do_not(make_api, config, queue):
    api = await make_api(_limited(config, 3))
    await api.complete()
    running = await api.submit()
    await queue.claim("default", token="t", count=1)
    await api.database.jobs.update_one({"_id": running["id"]}, {"$set": {"state": "processing"}})
    await api.submit(delay_seconds=3600)
    waiting = await api.submit()
    await api.problem(await api.post({"type": "any", "payload": 1}), 429, "queue-full")
    assert (await api.cancel(waiting["id"])).status == 200
    await api.submit()


async def test_each_pool_has_its_own_bound(make_api, config):
    api = await make_api(_limited(config, 1))
    await api.complete()
    await api.submit()
    await api.submit(type="echo", payload={})
    await api.problem(await api.post({"type": "echo", "payload": {}}), 429, "queue-full")


async def test_a_place_that_is_too_old_is_not_used(api, failpoint, queue, monkeypatch):
    await api.complete()
    monkeypatch.setattr("headrace.scheduler.commit.LAST_INSERT_SECONDS", 0.1)
    failpoint("after_reserve=sleep:200")
    await api.problem(await api.post({"type": "any", "payload": 1}), 503, "store-unavailable")
    assert await api.count() == 0
    failpoint("")
    await api.submit()
    depths = await queue.depths("default")
    assert (depths.reserved, depths.waiting["medium"]) == (0, 1)


async def test_jobs_admitted_beyond_the_bound_by_others_are_told_as_overshoot(make_api, config):
    wide = await make_api(config)
    await wide.complete()
    for _ in range(3):
        await wide.submit()
    narrow = await make_api(_limited(config, 1))
    await narrow.problem(await narrow.post({"type": "any", "payload": 1}), 429, "queue-full")
    text = await (await narrow.client.get("/metrics")).text()
    assert 'job_queue_overshoot{queue="default"} 2.0' in text


async def test_a_rebuild_that_ends_during_a_counted_insert_lets_nobody_have_the_same_room(make_api, config, failpoint):
    """A8: what was admitted by a count in MongoDB is on its way there and has no place in Redis yet."""
    api = await make_api(_limited(config, 1))
    failpoint("before_mongo_insert=sleep:800,once")
    counted = asyncio.create_task(api.post({"type": "any", "payload": 1}))
    await asyncio.sleep(0.2)
    await api.complete()
    statuses = sorted([(await api.post({"type": "any", "payload": 2})).status, (await counted).status])
    assert statuses == [201, 429]
    assert await api.count() == 1


@pytest.fixture
async def counts(config) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """How often the server was asked how many jobs are pending, by its own profile."""
    database = Database(config, appname="test")
    await database.handle.command("profile", 2)

    async def number() -> int:
        asked = database.handle["system.profile"].find({"command.aggregate": "jobs"})
        return len([True async for entry in asked if "$group" in entry["command"]["pipeline"][-1]])

    yield number
    await database.handle.command("profile", 0)
    database.close()


async def test_one_count_serves_many_submissions_while_redis_is_not_complete(make_api, config, counts):
    api = await make_api(config)
    for _ in range(40):
        await api.submit()
    assert await counts() == 1


async def test_a_count_serves_no_more_jobs_than_a_batch(make_api, config, counts):
    """What other schedulers cannot know of stays as small as it was."""
    api = await make_api(_limited(config, 10_000))
    body = {"jobs": [{"type": "any", "payload": 1}] * 400}
    for _ in range(3):
        response = await api.client.post("/v1/jobs/batch", json=body)
        assert {item["status"] for item in (await response.json())["results"]} == {201}
    assert await counts() >= 2


async def test_near_the_bound_jobs_that_end_make_room_at_once(make_api, config):
    api = await make_api(_limited(config, 3))
    jobs = [await api.submit() for _ in range(3)]
    await api.problem(await api.post({"type": "any", "payload": 1}), 429, "queue-full")
    assert (await api.cancel(jobs[0]["id"])).status == 200
    await api.submit()
    await api.problem(await api.post({"type": "any", "payload": 1}), 429, "queue-full")


async def test_a_count_that_met_its_cap_says_nothing_about_a_bound_that_grew(make_api, config):
    api = await make_api(_limited(config, 2))
    for _ in range(2):
        await api.submit()
    await api.problem(await api.post({"type": "any", "payload": 1}), 429, "queue-full")
    await api.submit(type="echo", payload={})  # another pool has its own
    wide = await make_api(_limited(config, 5))
    assert [(await wide.post({"type": "any", "payload": n})).status for n in range(5)] == [201] * 3 + [429] * 2


async def test_jobs_that_end_and_come_at_once_never_pass_the_bound(make_api, config):
    """Clients submit and cancel while a watcher counts; slow inserts keep many of them under way."""
    api = await make_api(_limited(config, 20))
    most, done = 0, asyncio.Event()

    async def watch():
        nonlocal most
        while not done.is_set():
            most = max(most, await api.database.jobs.count_documents({"state": "queued"}))

    async def client(number):
        answers = []
        for _ in range(4):
            response = await api.post({"type": "any", "payload": number})
            answers.append(response.status)
            if response.status == 201 and number % 2:
                assert (await api.cancel((await response.json())["id"])).status == 200
        return answers

    watching = asyncio.create_task(watch())
    answers = [found for one in await asyncio.gather(*(client(number) for number in range(24))) for found in one]
    done.set()
    await watching
    assert set(answers) == {201, 429}
    assert most == 20, "the bound is reached and never passed"
