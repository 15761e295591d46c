from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from headrace.contracts.job import Priority
from headrace.monitor.views import OverviewView
from headrace.runtime.web.auth import hash_token
from headrace.testing.eventually import eventually


async def seen(monitor) -> dict:
    answer = await monitor.get("/v1/overview")
    assert answer.status == 200
    body = await answer.json()
    OverviewView.model_validate_json(json.dumps(body))
    return body


def part(view: dict, name: str) -> tuple[str, str]:
    return next((part["status"], part["detail"]) for part in view["parts"] if part["name"] == name)


async def test_a_healthy_whole_is_ok_and_every_part_says_so(world, monitor):
    await world.healthy()
    view = await seen(monitor)
    assert view["status"] == "ok"
    assert [(part["name"], part["kind"], part["status"]) for part in view["parts"]] == [
        ("mongodb", "store", "ok"),
        ("redis", "store", "ok"),
        ("scheduler", "service", "ok"),
        ("recovery", "service", "ok"),
        ("worker on host-a (7)", "worker", "ok"),
    ]
    assert view["jobs"] == {"queued": 0, "processing": 0, "completed": 0, "failed": 0, "cancelled": 0}


async def test_a_picture_is_of_the_moment_when_looking_began_so_that_nothing_in_it_is_older(world, monitor, scheduler):
    scheduler.gate = asyncio.Event()
    looking = asyncio.create_task(seen(monitor))
    await eventually(lambda: scheduler.asked == 1)
    moment = datetime.now(UTC)
    scheduler.gate.set()
    assert datetime.fromisoformat((await looking)["at"]) <= moment


async def test_an_empty_system_is_down_because_nothing_could_run(monitor):
    view = await seen(monitor)
    assert view["status"] == "down"
    assert part(view, "workers") == ("down", "no worker lives; nothing runs")
    assert part(view, "recovery")[0] == "down"
    assert view["pools"] == view["workers"] == []
    assert view["recovery"] == {"leading": False, "leader": None, "epoch": None, "until": None}


async def test_jobs_are_counted_by_state(world, monitor):
    await world.healthy()
    first, second, third = [await world.put() for _ in range(3)]
    await world.fail(first, "boom")
    await world.run(second)
    jobs = (await seen(monitor))["jobs"]
    assert (jobs["queued"], jobs["processing"], jobs["failed"]) == (1, 1, 1)
    assert third.id


async def test_a_pool_shows_what_is_where(world, monitor):
    await world.healthy()
    old = datetime.now(UTC) - timedelta(seconds=100)
    high = await world.put(priority=Priority.HIGH, created_at=old)
    low = await world.put(priority=Priority.LOW)
    late = await world.put()
    running = await world.put()
    await world.wait_in("crawl", running)
    await world.queue.claim("crawl", token="c1", count=1)
    await world.wait_in("crawl", high, low)
    await world.wait_in("crawl", late, due_ms=await world.queue.time_ms() + 60_000)
    (pool,) = (await seen(monitor))["pools"]
    age = pool.pop("oldest_waiting_seconds")
    assert 99 <= age < 200
    assert pool == {
        "name": "crawl",
        "waiting": {"high": 1, "medium": 0, "low": 1},
        "delayed": 1,
        "in_flight": 1,
        "paused": False,
        "paused_reason": None,
        "complete": True,
        "slots": {"busy": 1, "total": 4},
        "workers": 1,
        "size_limit": 1000,
        "types": ["crawl-job"],
    }


async def test_the_pause_in_mongodb_is_the_truth_and_its_reason_is_shown(world, monitor):
    await world.healthy()
    await world.queue.pause("crawl", True, "only in redis")
    await world.pool("mail")
    pause = {"paused": True, "paused_reason": "mail server is moved"}
    await world.database.pools.update_one({"_id": "mail"}, {"$set": pause}, upsert=True)
    pools = {pool["name"]: pool for pool in (await seen(monitor))["pools"]}
    assert (pools["mail"]["paused"], pools["mail"]["paused_reason"]) == (True, "mail server is moved")
    assert pools["crawl"]["paused"] is False


async def test_a_pool_that_is_not_rebuilt_degrades_the_whole(world, monitor):
    await world.healthy()
    await world.pool("mail", complete=False)
    view = await seen(monitor)
    assert view["status"] == "degraded"
    assert part(view, "redis") == ("degraded", "the index is being rebuilt for mail")


async def test_workers_are_alive_late_lost_or_stopped(world, monitor):
    await world.healthy()
    await world.beat(host="late", seconds_ago=75)
    await world.beat(host="lost", seconds_ago=200)
    await world.end(await world.beat(host="dead", seconds_ago=200), "signal")
    await world.end(await world.beat(host="gone", seconds_ago=200), "graceful")
    view = await seen(monitor)
    assert {worker["host"]: worker["state"] for worker in view["workers"]} == {
        "dead": "lost",
        "gone": "stopped",
        "host-a": "alive",
        "late": "late",
        "lost": "lost",
    }
    assert part(view, "worker on late (7)")[0] == "degraded"
    assert part(view, "worker on lost (7)")[0] == "down"
    assert "worker on gone (7)" not in {part["name"] for part in view["parts"]}
    assert view["status"] == "degraded"
    (pool,) = view["pools"]
    assert (pool["slots"], pool["workers"]) == ({"busy": 2, "total": 8}, 2)


async def test_recovery_shows_its_leader_and_since_when_it_has_none(world, monitor):
    await world.healthy()
    view = await seen(monitor)
    assert part(view, "recovery") == ("ok", "recovery-1 leads, epoch 1")
    assert (view["recovery"]["leader"], view["recovery"]["leading"]) == ("recovery-1", True)


async def test_a_leader_whose_lease_is_over_does_not_lead(world, monitor):
    await world.healthy()
    await world.database.leases.update_one({}, {"$set": {"until": datetime(2026, 1, 2, tzinfo=UTC)}})
    view = await seen(monitor)
    assert view["status"] == "degraded"
    assert part(view, "recovery")[1].startswith("nobody leads since 2026-01-02T00:00:00.000Z")


async def test_a_scheduler_that_is_not_ready_says_why(world, monitor, scheduler):
    await world.healthy()
    scheduler.not_ready(redis="no connection to Redis")
    view = await seen(monitor)
    assert view["status"] == "degraded"
    assert part(view, "scheduler") == ("degraded", "redis: no connection to Redis")


async def test_a_scheduler_that_answers_something_else_is_degraded(world, monitor, scheduler):
    await world.healthy()
    scheduler.body = "<html>a proxy</html>"
    assert part(await seen(monitor), "scheduler")[1] == "it answers with status 200, not as a scheduler"


async def test_a_scheduler_that_fails_is_degraded_whatever_its_words(world, monitor, scheduler):
    await world.healthy()
    scheduler.status = 500
    assert part(await seen(monitor), "scheduler") == ("degraded", "it answers with status 500, not as a scheduler")


async def test_the_stores_are_read_once_a_second_however_many_ask(world, monitor, scheduler):
    await world.healthy()
    first = await seen(monitor)
    second = await seen(monitor)
    assert first["at"] == second["at"] or scheduler.asked == 2


@pytest.fixture
async def guarded(world, serve, tmp_path):
    path = tmp_path / "tokens.toml"
    path.write_text(
        "\n".join(
            f'[{name}]\nhash = "{hash_token(name)}"\nscopes = ["{scope}"]\n{rest}'
            for name, scope, rest in (
                ("reader", "read", ""),
                ("writer", "submit", ""),
                ("tenant", "read", 'tenant = "acme"'),
            )
        )
    )
    return await serve(world.config.model_copy(update={"api_tokens_file": path}))


async def test_reading_needs_a_token_that_may_read_everything(world, guarded):
    async def status(path: str, token: str | None) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return (await guarded.get(path, headers=headers)).status

    for path in ("/v1/overview", "/v1/workers", "/v1/history", "/v1/autoscale/crawl", "/pools", "/recovery", "/about"):
        assert await status(path, "tenant") == 403
    await world.pool("crawl")
    for path in ("/", "/v1/overview", "/v1/workers", "/v1/history"):
        assert await status(path, None) == 401
        assert await status(path, "writer") == 403
        assert await status(path, "reader") == 200
    assert await status("/healthz", None) == 200
