"""Redis down, frozen, full, emptied: submissions go on, marked as not indexed, and nothing is lost."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import web
from pydantic import SecretStr

from headrace.contracts.errors import ConfigError
from headrace.runtime.queue.client import redis_client
from headrace.scheduler.app import build_app
from headrace.testing.eventually import eventually


@pytest.fixture
def own_config(config, own_redis):
    return config.model_copy(update={"redis_url": SecretStr(own_redis.url), "queue_size_limit": 20})


async def _is_marked(api, job_id):
    document = await api.database.jobs.find_one({"_id": job_id})
    return document["indexed"] is False


async def test_without_redis_a_job_is_accepted_and_said_to_be_not_indexed(own_config, make_api, own_redis):
    api = await make_api(own_config)
    await api.complete()
    assert (await api.submit())["indexed"] is True
    await asyncio.to_thread(own_redis.stop)
    view = await api.submit(delay_seconds=5)
    assert view["indexed"] is False
    assert await _is_marked(api, view["id"])
    assert (await api.get(f"/v1/jobs/{view['id']}"))["indexed"] is False


async def test_without_redis_the_service_starts_and_is_ready_and_says_so(own_config, make_api, own_redis):
    await asyncio.to_thread(own_redis.stop)
    api = await make_api(own_config)
    ready = await api.get("/readyz")
    assert ready["checks"]["redis"]["ok"] is True
    assert "indexed later" in ready["checks"]["redis"]["detail"]
    for _ in range(3):
        assert (await api.submit())["indexed"] is False

    async def shows_the_breaker():
        return (await api.get("/readyz"))["checks"]["redis"]["breaker"] == "open"

    await eventually(shows_the_breaker)
    assert 'job_breaker_open{breaker="redis"} 1.0' in await (await api.client.get("/metrics")).text()


async def test_the_bound_is_exact_without_redis(own_config, make_api, own_redis):
    api = await make_api(own_config)
    await asyncio.to_thread(own_redis.stop)
    responses = await asyncio.gather(*(api.post({"type": "any", "payload": n}) for n in range(64)))
    statuses = [response.status for response in responses]
    assert (statuses.count(201), statuses.count(429)) == (20, 44)
    assert await api.count() == 20


async def test_when_redis_is_back_jobs_are_pushed_again(own_config, make_api, own_redis):
    api = await make_api(own_config)
    await asyncio.to_thread(own_redis.stop)
    for _ in range(4):
        await api.submit()
    await asyncio.to_thread(own_redis.start)

    async def is_indexed():
        view = await api.submit(delay_seconds=3600)
        await api.cancel(view["id"])
        return view["indexed"]

    await eventually(is_indexed, every=0.2)


async def test_a_frozen_redis_costs_a_second_and_then_nothing(own_config, make_api, own_redis):
    api = await make_api(own_config)
    await api.complete()
    own_redis.pause()
    try:
        for _ in range(3):
            assert (await api.submit())["indexed"] is False
        began = time.monotonic()
        assert (await api.submit())["indexed"] is False
        assert time.monotonic() - began < 1
    finally:
        own_redis.resume()


async def test_a_job_that_does_not_reach_redis_is_marked_afterwards(own_config, make_api, own_redis, failpoint):
    api = await make_api(own_config)
    await api.complete()
    await api.submit()
    failpoint("after_mongo_insert=sleep:300")
    posted = asyncio.create_task(api.submit())
    await eventually(lambda: _counted(api, 2))
    await asyncio.to_thread(own_redis.kill)
    view = await posted
    assert view["indexed"] is False
    await eventually(lambda: _is_marked(api, view["id"]))


async def _counted(api, n):
    return await api.count() == n


async def test_a_full_redis_refuses_places_and_the_job_is_accepted_all_the_same(own_config, make_api, own_redis):
    api = await make_api(own_config)
    await api.complete()
    client = redis_client(own_redis.url, kind="command", name="test")
    await client.config_set("maxmemory", 1)
    assert (await api.submit())["indexed"] is False
    await client.config_set("maxmemory", 0)
    await client.aclose()


async def test_an_emptied_redis_does_not_lift_the_bound(own_config, make_api, own_redis):
    api = await make_api(own_config)
    await api.complete()
    for _ in range(20):
        await api.submit()
    client = redis_client(own_redis.url, kind="command", name="test")
    await client.flushall()
    await client.aclose()
    await api.problem(await api.post({"type": "any", "payload": 1}), 429, "queue-full")


async def test_times_go_on_by_redis_clock_while_it_is_away(own_config, make_api, own_redis):
    api = await make_api(own_config)
    await api.complete()
    before = await api.submit()
    await asyncio.to_thread(own_redis.stop)
    after = await api.submit()
    assert after["created_at"] >= before["created_at"]


async def test_both_stores_away_is_refused_and_nothing_is_kept(own_config, make_api, own_redis, own_mongo):
    api = await make_api(own_config.model_copy(update={"mongo_url": SecretStr(own_mongo.url)}))
    await api.submit()
    await asyncio.to_thread(own_redis.stop)
    await asyncio.to_thread(own_mongo.kill)
    await api.problem(await api.post({"type": "any", "payload": 1}), 503, "store-unavailable")


async def test_a_mongodb_that_freezes_right_after_a_counted_job_is_asked_before_the_next_is_sent(
    own_config, make_api, own_redis, own_mongo
):
    """It answered a moment ago and a count is known, so nothing else would ask it: the outcome would be unknown."""
    api = await make_api(own_config.model_copy(update={"mongo_url": SecretStr(own_mongo.url)}))
    await asyncio.to_thread(own_redis.stop)
    await api.submit()
    own_mongo.pause()
    try:
        await api.problem(await api.post({"type": "any", "payload": 1}), 503, "store-unavailable")
    finally:
        own_mongo.resume()


async def test_a_redis_that_evicts_is_refused_at_the_start_and_noticed_later(own_config, make_api, own_redis):
    api = await make_api(own_config)
    client = redis_client(own_redis.url, kind="command", name="test")
    await client.config_set("maxmemory-policy", "allkeys-lru")
    await client.aclose()
    runner = web.AppRunner(build_app(own_config))
    with pytest.raises(ConfigError, match="noeviction"):
        await runner.setup()
    await runner.cleanup()

    async def not_ready():
        response = await api.client.get("/readyz")
        return response.status == 503 and "noeviction" in await response.text()

    await eventually(not_ready)
