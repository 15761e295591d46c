"""How fast a token may submit, and what its answers say about that."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from headrace.runtime.web.auth import hash_token
from headrace.testing.eventually import eventually

FOR_EVER = 0.001


@pytest.fixture
def rated_file(tmp_path):
    """Tokens `NAME-secret`: slow and another-slow have five at once, red and red-2 share three, free has no limit."""
    lines = []
    for name, more in {
        "slow": f"rate = {FOR_EVER}\nburst = 5",
        "another-slow": f"rate = {FOR_EVER}\nburst = 5",
        "quick": "rate = 20\nburst = 1",
        "red": f'tenant = "red"\nrate = {FOR_EVER}\nburst = 3',
        "red-2": f'tenant = "red"\nrate = {FOR_EVER}\nburst = 3',
        "free": "",
    }.items():
        lines += [f"[{name}]", f'hash = "{hash_token(name + "-secret")}"', 'scopes = ["submit", "read"]', more]
    path = tmp_path / "rates.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
async def rated(make_api, config, rated_file):
    api = await make_api(config.model_copy(update={"api_tokens_file": rated_file}))
    await api.complete()
    return api


BODY = {"type": "any", "payload": 1}


async def test_a_token_submits_its_burst_and_is_told_what_is_left(rated):
    responses = [await rated.post(BODY, **rated.bearer("slow")) for _ in range(6)]
    assert [response.status for response in responses] == [201] * 5 + [429]
    assert [int(re.search(r"r=(\d+)", response.headers["RateLimit"])[1]) for response in responses] == [
        4,
        3,
        2,
        1,
        0,
        0,
    ]
    assert {response.headers["RateLimit-Policy"] for response in responses} == {'"default";q=5;w=5000'}
    assert re.fullmatch(r'"default";r=4;t=1000', responses[0].headers["RateLimit"])
    await rated.problem(responses[-1], 429, "rate-limited")
    assert 900 < int(responses[-1].headers["Retry-After"]) <= 1000
    assert await rated.count() == 5
    assert (await rated.post(BODY, **rated.bearer("another-slow"))).status == 201, "each token has its own"


async def test_many_at_once_get_the_burst_and_no_more(rated):
    responses = await asyncio.gather(*(rated.post(BODY, **rated.bearer("slow")) for _ in range(32)))
    assert [response.status for response in responses].count(201) == 5


async def test_the_tokens_of_a_tenant_share_its_rate(rated):
    statuses = [(await rated.post(BODY, **rated.bearer(name))).status for name in ("red", "red-2") * 3]
    assert statuses.count(201) == 3


async def test_a_rate_comes_back(rated):
    async def accepted():
        return (await rated.post(BODY, **rated.bearer("quick"))).status == 201

    await eventually(accepted)
    await eventually(accepted, within=2)


async def test_a_token_without_a_rate_and_other_routes_say_nothing(rated):
    assert "RateLimit" not in (await rated.post(BODY, **rated.bearer("free"))).headers
    await rated.post(BODY, **rated.bearer("slow"))
    listing = await rated.client.get("/v1/jobs", headers=rated.bearer("slow"))
    assert listing.status == 200
    assert "RateLimit" not in listing.headers


async def test_a9_a_repeat_with_its_key_is_answered_whatever_the_rate_says(rated):
    key = {"Idempotency_Key": "k1"} | rated.bearer("slow")
    first = await rated.post(BODY, **key)
    for _ in range(5):
        await rated.post(BODY, **rated.bearer("slow"))
    await rated.problem(await rated.post(BODY, **rated.bearer("slow")), 429, "rate-limited")
    again = await rated.post(BODY, **key)
    assert (again.status, (await again.json())["id"]) == (200, (await first.json())["id"])
    assert "RateLimit" not in again.headers, "it was not asked"


async def test_what_breaks_a_rule_costs_nothing(rated):
    for _ in range(10):
        await rated.problem(await rated.post({"type": "any"}, **rated.bearer("slow")), 422, "validation")
    assert (await rated.post(BODY, **rated.bearer("slow"))).headers["RateLimit"].startswith('"default";r=4')


async def test_of_a_batch_as_many_are_taken_as_the_rate_allows(rated):
    jobs = {"jobs": [BODY | {"payload": n} for n in range(8)]}
    response = await rated.client.post("/v1/jobs/batch", json=jobs, headers=rated.bearer("slow"))
    results = (await response.json())["results"]
    assert [result["status"] for result in results] == [201] * 5 + [429] * 3
    assert results[-1]["problem"]["type"] == "/problems/rate-limited"
    assert response.headers["RateLimit"].startswith('"default";r=0')


async def test_without_redis_nobody_is_limited_and_the_log_says_so_once(make_api, config, rated_file, own_redis):
    api = await make_api(
        config.model_copy(update={"api_tokens_file": rated_file, "redis_url": SecretStr(own_redis.url)})
    )
    for _ in range(5):
        await api.post(BODY, **api.bearer("slow"))
    assert (await api.post(BODY, **api.bearer("slow"))).status == 429
    await asyncio.to_thread(own_redis.stop)
    with capture_logs() as logs:
        statuses = [(await api.post(BODY, **api.bearer("slow"))).status for _ in range(5)]
    assert statuses == [201] * 5
    assert [line["event"] for line in logs].count("rate_limit.open") == 1
    await asyncio.to_thread(own_redis.start)

    async def limits_again():
        with capture_logs() as logs:
            await api.post(BODY, **api.bearer("slow"))
        return "rate_limit.closed" in [line["event"] for line in logs]

    await eventually(limits_again, within=15, every=0.2)


async def test_the_headers_are_what_the_document_says(rated):
    document = json.loads(await (await rated.client.get("/openapi.json", headers=rated.bearer("slow"))).text())
    problems = document["paths"]["/v1/jobs"]["post"]["responses"]["429"]["description"]
    assert "rate-limited" in problems
    assert "queue-full" in problems
