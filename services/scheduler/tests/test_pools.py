"""Pools: what they show, and that pauses and sizes are stored, told and obeyed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from headrace.contracts.heartbeat import ChildBeat, Heartbeat
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.hints import Hints
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.incarnations import Incarnations
from headrace.testing.eventually import eventually

SHAPE = {
    "name", "waiting", "delayed", "in_flight", "oldest_waiting_seconds", "size_limit", "paused", "paused_reason",
    "slots", "workers", "throughput_per_second",
}  # fmt: skip


async def change(api, path, body=None, method="POST", **headers):
    response = await api.client.request(method, f"/v1/pools/{path}", json=body, headers=headers)
    assert response.status == 200, await response.text()
    return await response.json()


async def test_a_pool_shows_its_jobs_and_workers(api, config, queue):
    await api.complete()
    for priority in ("high", "low", "low", "medium"):
        await api.submit(priority=priority)
    await api.submit(delay_seconds=3600)
    await queue.claim("default", token="t", count=1)
    incarnations = Incarnations(api.database)
    for name in ("w-1", "w-2"):
        await incarnations.register(
            name, service="s", host="h", pool="default", types=["any"], slots=5, version="1", lease_seconds=60
        )
    child = ChildBeat(incarnation="w-1", pid=1, pool="default", slots=5, busy=3, rss_bytes=1, cpu_seconds=1)
    redis = redis_client(config.redis_url, kind="command", name="test")
    beat = Heartbeat(
        service="s", host="h", pid=1, version="1", at=datetime.now(UTC), slots=5, busy=3, children=(child,)
    )
    assert await Hints(redis, config.namespace).beat(beat)
    await redis.aclose()
    pool = await api.get("/v1/pools/default")
    assert set(pool) == SHAPE
    assert pool["waiting"] == {"high": 0, "medium": 1, "low": 2}
    assert (pool["delayed"], pool["in_flight"], pool["size_limit"]) == (1, 1, 1000)
    assert (pool["slots"], pool["workers"]) == ({"busy": 3, "total": 10}, 2)
    assert 0 <= pool["oldest_waiting_seconds"] < 60
    assert (pool["paused"], pool["paused_reason"]) == (False, None)
    pools = (await api.get("/v1/pools"))["pools"]
    assert [item["name"] for item in pools] == ["cpu", "default"]
    assert pools[0]["oldest_waiting_seconds"] is None


async def test_an_unknown_pool_is_not_found(api):
    for name in ("nothing", "No%20Name", "x" * 61):
        await api.problem(await api.client.get(f"/v1/pools/{name}"), 404, "not-found")
        for method, rest, body in (("POST", "/pause", {}), ("POST", "/resume", None), ("PATCH", "", {"size_limit": 1})):
            response = await api.client.request(method, f"/v1/pools/{name}{rest}", json=body)
            await api.problem(response, 404, "not-found")


async def test_without_redis_a_pool_is_counted_in_mongodb(make_api, config, own_redis):
    api = await make_api(config.model_copy(update={"redis_url": SecretStr(own_redis.url)}))
    own_redis.kill()
    await api.submit(priority="high")
    await api.submit(delay_seconds=60)
    pool = await api.get("/v1/pools/default")
    assert (pool["waiting"], pool["delayed"]) == ({"high": 1, "medium": 0, "low": 0}, 1)
    assert pool["slots"] == {"busy": 0, "total": 0}
    # A pause is stored, and told to Redis when it comes back; a resume as well.
    assert (await change(api, "default/pause", {"reason": "a fire"}))["paused"]
    own_redis.restart(keep_data=False)
    queue = RedisJobQueue(redis_client(own_redis.url, kind="command", name="test"), namespace=config.namespace)

    async def told(on):
        return (await queue.depths("default")).paused == on

    await eventually(lambda: told(True))
    own_redis.pause()
    await change(api, "default/resume")
    own_redis.resume()
    await eventually(lambda: told(False), within=15)
    await queue.close()


async def test_b12_a_pause_survives_a_flush_and_submissions_are_taken(make_api, config, own_redis):
    api = await make_api(config.model_copy(update={"redis_url": SecretStr(own_redis.url)}))
    queue = RedisJobQueue(redis_client(own_redis.url, kind="command", name="test"), namespace=config.namespace)
    await queue.finish_rebuild("default", await queue.begin_rebuild("default"))
    pool = await change(api, "default/pause", {"reason": "a fire"})
    assert (pool["paused"], pool["paused_reason"]) == (True, "a fire")
    assert (await queue.depths("default")).paused
    await api.submit()
    redis = redis_client(own_redis.url, kind="command", name="test")
    await redis.flushall()
    await redis.aclose()
    assert (await api.get("/v1/pools/default"))["paused_reason"] == "a fire"

    async def told_again():
        return (await queue.depths("default")).paused

    await eventually(told_again, within=15)
    pool = await change(api, "default/resume")
    assert (pool["paused"], pool["paused_reason"]) == (False, None)
    assert not await told_again()
    await queue.close()


async def test_a_pause_needs_no_reason(api):
    assert (await change(api, "cpu/pause"))["paused_reason"] == ""
    assert (await change(api, "cpu/pause", {}))["paused_reason"] == ""


async def test_a_size_of_its_own_bounds_the_pool_of_every_scheduler(make_api, config):
    one, two = [await make_api(config) for _ in range(2)]
    await one.complete()
    assert (await change(one, "default", {"size_limit": 1}, "PATCH"))["size_limit"] == 1
    await one.submit()
    await one.problem(await one.post({"type": "any", "payload": 1}), 429, "queue-full")

    async def refuses():
        return (await two.post({"type": "any", "payload": 1})).status == 429

    await eventually(refuses)
    assert (await change(one, "default", {"size_limit": None}, "PATCH"))["size_limit"] == 1000
    await one.submit()


@pytest.mark.parametrize(
    "body",
    [{}, {"size_limit": 0}, {"size_limit": "9"}, {"min_slots": 3, "max_slots": 2}, {"max_slots": -1}, {"name": "x"}],
)
async def test_wrong_sizes_are_refused(api, body):
    await api.problem(await api.client.patch("/v1/pools/default", json=body), 422, "validation")


async def test_slots_are_kept_and_may_not_cross(api):
    await change(api, "default", {"min_slots": 4}, "PATCH")
    problem = await api.problem(await api.client.patch("/v1/pools/default", json={"max_slots": 3}), 422, "validation")
    assert problem["errors"][0]["pointer"] == "/max_slots"
    await change(api, "default", {"max_slots": 4}, "PATCH")
    kept = await api.database.pools.find_one({"_id": "default"})
    assert (kept["min_slots"], kept["max_slots"], kept["changed_by"]) == (4, 4, "local")


async def test_a_tenant_sees_its_own_jobs_in_a_pool_and_may_not_change_it(make_api, config, tokens_file):
    api = await make_api(config.model_copy(update={"api_tokens_file": tokens_file}))
    await api.complete()
    for name in ("red", "blue", "blue"):
        assert (await api.post({"type": "any", "payload": 1}, **api.bearer(name))).status == 201
    seen = {name: (await api.get("/v1/pools/default", **api.bearer(name))) for name in ("red", "blue", "reader")}
    assert {name: pool["waiting"]["medium"] for name, pool in seen.items()} == {"red": 1, "blue": 2, "reader": 3}
    assert seen["red"]["throughput_per_second"] is None
    for method, rest in (("POST", "/pause"), ("POST", "/resume"), ("PATCH", "")):
        response = await api.client.request(method, f"/v1/pools/default{rest}", json={}, headers=api.bearer("red"))
        await api.problem(response, 403, "forbidden")
