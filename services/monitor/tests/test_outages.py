from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from headrace.testing.eventually import eventually

BOUND_SECONDS = 5.0
"""Of one answer: three waits of a second each, one after the other at worst, and room for a busy machine."""

pytestmark = pytest.mark.slow


async def seen(monitor) -> dict:
    answers = []
    for path in ("/v1/overview", "/"):
        began = time.monotonic()
        answers.append(await monitor.get(path))
        assert time.monotonic() - began < BOUND_SECONDS
    answer, page = answers
    assert (answer.status, page.status) == (200, 200)
    view = await answer.json()
    view["page"] = await page.text()
    view["by_name"] = {part["name"]: (part["status"], part["detail"]) for part in view["parts"]}
    return view


async def until(monitor, name: str, status: str) -> dict:
    async def has_it() -> bool:
        answer = await (await monitor.get("/v1/overview")).json()
        return any((part["name"], part["status"]) == (name, status) for part in answer["parts"])

    await eventually(has_it)
    return await seen(monitor)


@pytest.fixture
def serve_world(serve, make_world):
    async def start(**changes):
        world = make_world(**changes)
        return world, await serve(world.config)

    return start


async def test_without_redis_the_picture_stays_with_what_mongodb_knows(serve_world, own_redis):
    world, monitor = await serve_world(redis_url=SecretStr(own_redis.url))
    await world.healthy()
    assert (await seen(monitor))["status"] == "ok"
    own_redis.kill()
    await world.put()
    view = await until(monitor, "redis", "down")
    assert view["status"] == "degraded"
    assert view["by_name"]["redis"][0] == "down"
    assert "MongoDB, more slowly" in view["by_name"]["redis"][1]
    assert view["by_name"]["worker on host-a"] == ("ok", "beats")
    assert view["jobs"]["queued"] == 1
    (pool,) = view["pools"]
    assert (pool["waiting"], pool["complete"]) == (None, None)
    assert "unknown" in view["page"]
    assert "0 of 0" not in view["page"]  # who works is not known; nobody is said not to
    workers = await (await monitor.get("/workers")).text()
    assert "4 slots" in workers
    assert "ago" not in workers.partition("<main")[2].partition("</main>")[0]


async def test_without_mongodb_the_whole_is_down_and_pools_stay_visible(serve_world, own_mongo):
    world, monitor = await serve_world(mongo_url=SecretStr(own_mongo.url))
    await world.healthy()
    await seen(monitor)
    own_mongo.kill()
    view = await until(monitor, "mongodb", "down")
    assert view["status"] == "down"
    assert view["by_name"]["mongodb"][0] == "down"
    assert view["by_name"]["recovery"] == ("unknown", "MongoDB does not say who leads")
    assert view["by_name"]["redis"][0] == "ok"
    assert (view["jobs"], view["recovery"]) == ({}, None)
    assert view["pools"][0]["waiting"] == {"high": 0, "medium": 0, "low": 0}
    assert "MongoDB does not say how many jobs there are" in view["page"]


async def test_with_everything_away_the_page_still_stands(serve_world):
    nowhere = "127.0.0.1:9"
    _, monitor = await serve_world(
        redis_url=SecretStr(f"redis://:s3cret@{nowhere}"),
        mongo_url=SecretStr(f"mongodb://u:s3cret@{nowhere}/?replicaSet=rs0"),
        scheduler_url=f"http://u:s3cret@{nowhere}",
    )
    view = await seen(monitor)
    assert view["status"] == "down"
    assert {name: status for name, (status, _) in view["by_name"].items()} == {
        "mongodb": "down",
        "redis": "down",
        "scheduler": "down",
        "recovery": "unknown",
        "workers": "unknown",
    }
    assert "s3cret" not in str(view)
    ready = await monitor.get("/readyz")
    assert ready.status == 200
    assert (await ready.json())["checks"]["redis"]["ok"] is False


async def test_frozen_stores_cost_a_bounded_wait(serve_world, own_redis, own_mongo):
    world, monitor = await serve_world(redis_url=SecretStr(own_redis.url), mongo_url=SecretStr(own_mongo.url))
    await world.healthy()
    assert (await seen(monitor))["by_name"]["mongodb"] == ("ok", "answers")
    own_redis.pause()
    own_mongo.pause()
    paused = datetime.now(UTC)
    try:
        # An answer is kept for a second; it says when looking began, so it is not taken for one of now.
        view = await seen(monitor)
        while datetime.fromisoformat(view["at"]) < paused:
            view = await seen(monitor)
    finally:
        own_redis.resume()
        own_mongo.resume()
    assert view["by_name"]["mongodb"] == ("down", "MongoDB did not answer within 1 s")
    assert view["by_name"]["redis"][0] == "down"


async def test_a_wrong_password_is_named_without_the_drivers_words(serve_world, own_mongo):
    wrong = own_mongo.url.replace("mongodb://", "mongodb://nobody:s3cret@")
    _, monitor = await serve_world(mongo_url=SecretStr(wrong))
    status, detail = (await seen(monitor))["by_name"]["mongodb"]
    assert status == "down"
    assert detail.startswith("MongoDB ")
    assert "s3cret" not in detail


async def test_a_hanging_scheduler_is_down_after_a_second(serve_world):
    gate = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        await gate.wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/readyz", hang)
    async with TestServer(app) as server:
        world, monitor = await serve_world(scheduler_url=str(server.make_url("")))
        await world.healthy()
        view = await seen(monitor)
        gate.set()
    assert view["by_name"]["scheduler"] == ("down", "scheduler did not answer within 1 s")
    assert view["status"] == "down"


async def test_the_metrics_of_what_answers_come_out_while_the_rest_is_away(serve_world):
    world, monitor = await serve_world(redis_url=SecretStr("redis://127.0.0.1:9"))
    await world.put()
    text = await (await monitor.get("/metrics")).text()
    assert 'job_jobs{state="queued"} 1.0' in text
    assert 'job_part_up{part="redis"} 0.0' in text
    assert "job_queue_depth{" not in text
    assert 'job_breaker_open{breaker="Redis"}' in text
