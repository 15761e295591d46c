"""`POST /v1/jobs/batch`: each item stands for itself, and all that is accepted is committed together."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from headrace.contracts.submission import MAX_BATCH_JOBS
from headrace.runtime.web.body import BATCH_LIMIT_BYTES


@pytest.fixture
def batch(api):
    async def post(*items, to=api, status=200, **headers):
        sent = {"Content-Type": "application/json"} | headers
        body = io.BytesIO(json.dumps({"jobs": items}).encode())
        response = await to.client.post("/v1/jobs/batch", data=body, headers=sent)
        assert response.status == status, await response.text()
        results = (await response.json())["results"]
        assert [result["index"] for result in results] == list(range(len(items)))
        assert all(("job" in result) == (result["status"] < 300) for result in results)
        return results

    return post


def item(n=0, **fields):
    return {"type": "any", "payload": {"n": n}} | fields


def code(result):
    assert result["problem"]["status"] == result["status"]
    return result["problem"]["type"].removeprefix("/problems/")


async def test_a_batch_is_stored_in_order_and_shown_as_single_jobs_are(api, batch, queue):
    await api.complete()
    results = await batch(*(item(n, priority="high", tags={"n": str(n)}) for n in range(5)))
    assert [result["status"] for result in results] == [201] * 5
    for n, result in enumerate(results):
        job = result["job"]
        assert (job["payload"], job["tags"]) == ({"n": n}, {"n": str(n)})
        assert job == await api.get(f"/v1/jobs/{job['id']}")
    assert list((await queue.claim("default", token="t", count=9)).ids) == [result["job"]["id"] for result in results]


async def test_all_that_is_accepted_is_one_commit_per_pool(make_api, config, batch):
    api = await make_api(config.model_copy(update={"queue_size_limit": 5000}))
    await api.complete()
    await batch(*(item(n) for n in range(MAX_BATCH_JOBS)), to=api)
    await batch(item(), {"type": "echo", "payload": {}}, item(idempotency_key="k"), to=api)
    text = await (await api.client.get("/metrics")).text()
    assert "job_submit_batch_size_count 3.0" in text
    assert "job_submit_batch_size_sum 1003.0" in text
    assert 'job_enqueued_total{queue="default",type="any"} 1002.0' in text


async def test_each_item_has_its_own_problem(api, batch):
    deep = json.loads("[" * 65 + "]" * 65)
    results = await batch(
        item(),
        {"type": "nobody", "payload": 1},
        {"type": "echo", "payload": {"n": -1}},
        item(priority="urgent"),
        item(surprise=1),
        {"type": "any"},
        7,
        item(payload="x" * 300_000),
        item(payload=deep),
        item(idempotency_key="ü"),
        item(idempotency_key=""),
        item(run_at="9999-01-01T00:00:00Z"),
        item(1),
    )
    assert [result["status"] for result in results] == [201, 422, 422, 422, 422, 422, 422, 413, 422, 422, 422, 422, 201]
    assert [code(result) for result in results[1:3]] == ["unknown-job-type", "invalid-payload"]
    assert {code(result) for result in (*results[3:7], *results[8:12])} == {"validation"}
    assert code(results[7]) == "too-large"
    assert results[2]["problem"]["errors"][0]["pointer"] == "/payload/n"
    assert results[4]["problem"]["errors"][0]["pointer"] == "/surprise"
    assert results[9]["problem"]["errors"][0]["pointer"] == "/idempotency_key"
    assert await api.count() == 2


async def test_a_key_gives_one_job_alone_and_in_batches(api, batch):
    first = await batch(item(1, idempotency_key="a"), item(2, idempotency_key="b"), item(3, idempotency_key=None))
    again = await batch(item(1, idempotency_key="a"), item(9, idempotency_key="b"), item(4, idempotency_key="c"))
    assert [result["status"] for result in again] == [200, 422, 201]
    assert again[0]["job"]["id"] == first[0]["job"]["id"]
    assert code(again[1]) == "idempotency-mismatch"
    alone = await api.post(item(4), Idempotency_Key="c")
    assert (alone.status, (await alone.json())["id"]) == (200, again[2]["job"]["id"])


async def test_a_key_that_comes_twice_in_one_batch_is_a_repeat(api, batch):
    results = await batch(*(item(n, idempotency_key="k") for n in (1, 1, 2)))
    assert [result["status"] for result in results] == [201, 200, 422]
    assert results[1]["job"]["id"] == results[0]["job"]["id"]
    assert await api.count() == 1


async def test_sixteen_batches_with_the_same_keys_make_each_job_once(make_api, config, batch):
    apis = [await make_api(config) for _ in range(2)]
    keys = [f"k{n}" for n in range(20)]
    orders = [keys if n % 2 else keys[::-1] for n in range(16)]
    answers = await asyncio.gather(
        *(batch(*(item(key, idempotency_key=key) for key in order), to=apis[n % 2]) for n, order in enumerate(orders))
    )
    found = {(result["job"]["payload"]["n"], result["job"]["id"]) for results in answers for result in results}
    assert len(found) == len(keys) == await apis[0].count()
    assert sum(result["status"] == 201 for results in answers for result in results) == len(keys)


async def test_a_key_that_is_held_for_long_is_still_in_flight(api, batch, failpoint, monkeypatch):
    monkeypatch.setattr("headrace.scheduler.keys.WAIT_SECONDS", 0.05)
    failpoint("before_mongo_insert=sleep:400,once")
    first = asyncio.create_task(batch(item(1, idempotency_key="a")))
    await asyncio.sleep(0.1)
    results = await batch(item(1, idempotency_key="a"), item(2, idempotency_key="b"))
    assert [result["status"] for result in results] == [409, 201]
    assert code(results[0]) == "idempotency-in-flight"
    assert (await first)[0]["status"] == 201


async def test_unique_keys_are_taken_once_and_the_problem_names_the_holder(api, batch):
    results = await batch(*(item(n, unique_key="u") for n in range(40)), item(unique_key="v"))
    made = [result for result in results if result["status"] == 201]
    assert len(made) == 2
    refused = [result for result in results if result["status"] == 409]
    assert {code(result) for result in refused} == {"duplicate-job"}
    assert {result["problem"]["id"] for result in refused} == {made[0]["job"]["id"]}


async def test_what_the_bound_does_not_admit_is_refused_alone(make_api, config, batch):
    api = await make_api(config.model_copy(update={"queue_size_limit": 3}))
    await api.complete()
    results = await batch(*(item(n) for n in range(5)), {"type": "echo", "payload": {}}, to=api)
    assert [result["status"] for result in results] == [201, 201, 201, 429, 429, 201]
    assert code(results[3]) == "queue-full"


async def test_sixty_four_batches_at_once_fill_exactly_the_bound(make_api, config, batch):
    limited = config.model_copy(update={"queue_size_limit": 100})
    apis = [await make_api(limited) for _ in range(2)]
    await apis[0].complete()
    answers = await asyncio.gather(*(batch(*(item(i) for i in range(7)), to=apis[n % 2]) for n in range(64)))
    statuses = [result["status"] for results in answers for result in results]
    assert (statuses.count(201), statuses.count(429)) == (100, 64 * 7 - 100)
    assert await apis[0].count() == 100


async def test_without_mongodb_every_item_is_refused_and_nothing_kept(make_api, config, own_mongo, batch):
    api = await make_api(config.model_copy(update={"mongo_url": config.mongo_url.__class__(own_mongo.url)}))
    await batch(item(), to=api)
    own_mongo.pause()
    try:
        results = await batch(item(), item(idempotency_key="k"), {"type": "nobody", "payload": 1}, to=api)
    finally:
        own_mongo.resume()
    assert [code(result) for result in results] == ["store-unavailable"] * 3


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"[]", ""),
        (b"{}", "/jobs"),
        (b'{"jobs": {}}', "/jobs"),
        (b'{"jobs": [], "more": 1}', "/more"),
        (json.dumps({"jobs": [{}] * (MAX_BATCH_JOBS + 1)}).encode(), "/jobs"),
    ],
)
async def test_a_body_that_is_no_batch_is_refused_whole(api, body, pointer):
    response = await api.client.post("/v1/jobs/batch", data=body, headers={"Content-Type": "application/json"})
    problem = await api.problem(response, 422, "validation")
    assert problem["errors"][0]["pointer"] == pointer


async def test_a_batch_may_be_large_but_not_larger(api, batch):
    results = await batch(*(item(payload="x" * 200_000) for _ in range(10)))
    assert {result["status"] for result in results} == {201}
    assert await batch() == []
    headers = {"Content-Type": "application/json", "Content-Length": str(BATCH_LIMIT_BYTES + 1)}
    response = await api.client.post("/v1/jobs/batch", data=b"", headers=headers)
    await api.problem(response, 413, "too-large")
