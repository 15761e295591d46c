"""`JOB_SHED_SHARES` and the share of a tenant: who is refused before the pool is full."""

from __future__ import annotations

import asyncio
import json

import pytest
from pydantic import SecretStr

from headrace.contracts.config import JobConfig
from headrace.contracts.job import Priority
from headrace.runtime.web.auth import hash_token
from headrace.scheduler.bounds import Bounds, share_of

BOUND = 10
SHED = {"high": 100, "medium": 90, "low": 80}


def _shedding(config, **more):
    return config.model_copy(update={"queue_size_limit": BOUND, "shed_shares": SHED} | more)


async def _post(api, count, **fields):
    responses = await asyncio.gather(*(api.post({"type": "any", "payload": 1} | fields) for _ in range(count)))
    return [response.status for response in responses].count(201)


@pytest.mark.parametrize(("percent", "limit"), [(100, 10), (80, 8), (85, 9), (1, 1), (0, 0)])
def test_a_share_is_the_first_number_that_is_refused(percent, limit):
    assert share_of(BOUND, percent) == limit


def test_a_pool_with_a_size_of_its_own_has_shares_of_that(config):
    bounds = Bounds(BOUND, SHED)
    bounds.set_sizes({"big": 1000})
    assert (bounds.size("big"), bounds.limit("big", Priority.LOW), bounds.limit("cpu", Priority.LOW)) == (1000, 800, 8)


def test_everyone_may_fill_the_pool_by_default():
    bounds = Bounds(BOUND, JobConfig().shed_shares)
    assert {bounds.limit("any", priority) for priority in Priority} == {BOUND}


@pytest.mark.parametrize("complete", [True, False], ids=["by-redis", "counted-in-mongodb"])
async def test_low_priority_is_shed_first_and_high_fills_the_pool(make_api, config, complete):
    api = await make_api(_shedding(config))
    if complete:
        await api.complete()
    assert await _post(api, 64, priority="low") == 8
    response = await api.post({"type": "any", "payload": 1, "priority": "low"})
    assert "JOB_SHED_SHARES" in (await api.problem(response, 429, "queue-full"))["detail"]
    assert response.headers["Retry-After"]
    assert await _post(api, 8, priority="medium") == 1
    assert await _post(api, 8, priority="high") == 1
    problem = await api.problem(await api.post({"type": "any", "payload": 1, "priority": "high"}), 429, "queue-full")
    assert "JOB_QUEUE_SIZE_LIMIT" in problem["detail"]
    assert await api.count() == BOUND


async def test_i7_the_shares_are_exact_when_all_priorities_come_at_once_through_two_schedulers(make_api, config):
    apis = [await make_api(_shedding(config, queue_size_limit=50)) for _ in range(2)]
    await apis[0].complete()

    async def client(n):
        names = ("high", "medium", "low")
        return [
            (await apis[n % 2].post({"type": "any", "payload": n, "priority": names[(n + k) % 3]})).status
            for k in range(3)
        ]

    found = await asyncio.gather(*(client(n) for n in range(64)))
    statuses = [status for part in found for status in part]
    assert statuses.count(201) == 50
    low = await apis[0].database.jobs.count_documents({"priority": Priority.LOW.rank})
    not_high = await apis[0].database.jobs.count_documents({"priority": {"$ne": Priority.HIGH.rank}})
    assert low <= 40
    assert not_high <= 45


async def test_without_redis_the_shares_hold_too(make_api, config, own_redis):
    api = await make_api(_shedding(config, redis_url=SecretStr(own_redis.url)))
    await asyncio.to_thread(own_redis.stop)
    assert await _post(api, 12, priority="low") == 8
    assert await _post(api, 12, priority="high") == 2


@pytest.fixture
def shared_file(tmp_path):
    """Tokens `NAME-secret`: two of the tenant red, who may fill half of a pool, and one of blue."""
    lines = []
    for name, tenant, share in (("red", "red", 50), ("red-2", "red", 50), ("blue", "blue", 100)):
        lines += [f"[{name}]", f'hash = "{hash_token(name + "-secret")}"', f"scopes = {json.dumps(['submit'])}"]
        lines += [f'tenant = "{tenant}"', f"share = {share}"]
    path = tmp_path / "shares.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("complete", [True, False], ids=["by-redis", "counted-in-mongodb"])
async def test_a_tenant_fills_its_share_and_no_more(make_api, config, shared_file, complete):
    api = await make_api(config.model_copy(update={"queue_size_limit": BOUND, "api_tokens_file": shared_file}))
    if complete:
        await api.complete()
    bodies = [{"type": "any", "payload": n} for n in range(32)]
    responses = await asyncio.gather(
        *(api.post(body, **api.bearer("red" if n % 2 else "red-2")) for n, body in enumerate(bodies))
    )
    assert [response.status for response in responses].count(201) == 5
    problem = await api.problem(await api.post(bodies[0], **api.bearer("red")), 429, "queue-full")
    assert "share" in problem["detail"]
    # The other tenant has the rest, and each pool is shared anew.
    responses = await asyncio.gather(*(api.post(body, **api.bearer("blue")) for body in bodies[:10]))
    assert [response.status for response in responses].count(201) == 5
    assert (await api.post({"type": "echo", "payload": {}}, **api.bearer("red"))).status == 201
    # What is over makes room.
    await api.database.jobs.update_one({"tenant": "red", "pool": "default"}, {"$set": {"state": "completed"}})
    if not complete:
        assert (await api.post(bodies[0], **api.bearer("red"))).status == 201


async def test_a_share_with_several_schedulers_is_passed_by_one_batch_each_at_most(make_api, config, shared_file):
    """What is promised (decision 7): counted one after the other in each scheduler, not between them."""
    settings = config.model_copy(update={"queue_size_limit": 100, "api_tokens_file": shared_file})
    apis = [await make_api(settings) for _ in range(2)]
    await apis[0].complete()
    jobs = {"jobs": [{"type": "any", "payload": n} for n in range(10)]}

    async def batch(n):
        headers = api.bearer("red")
        response = await apis[n % 2].client.post("/v1/jobs/batch", json=jobs, headers=headers)
        return sum(result["status"] == 201 for result in (await response.json())["results"])

    api = apis[0]
    admitted = sum(await asyncio.gather(*(batch(n) for n in range(16))))
    assert 50 <= admitted <= 50 + 100 - 50, "never beyond the pool's own bound"
    assert admitted == await api.count()


async def test_one_tenants_batch_does_not_fail_its_neighbours(make_api, config, shared_file):
    api = await make_api(config.model_copy(update={"queue_size_limit": BOUND, "api_tokens_file": shared_file}))
    await api.complete()
    asked = [api.post({"type": "any", "payload": n}, **api.bearer(("red", "blue")[n % 2])) for n in range(12)]
    statuses = [response.status for response in await asyncio.gather(*asked)]
    assert sorted(statuses).count(201) == BOUND
    assert await api.database.jobs.count_documents({"tenant": "red"}) <= 5


async def test_the_count_of_a_share_is_served_by_its_index(api):
    await api.submit()
    plan = await api.database.jobs.find({"tenant": "red", "pool": "default", "state": {"$in": ["queued"]}}).explain()
    assert "pending_of_tenant" in json.dumps(plan, default=str)
