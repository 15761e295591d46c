"""MongoDB down or frozen: nothing is accepted that is not durable, and what is not known is not denied."""

from __future__ import annotations

import asyncio
import time

import pytest
from pydantic import SecretStr

from headrace.scheduler.intake import LANES
from headrace.testing.eventually import eventually

BODY = {"type": "any", "payload": 1}


@pytest.fixture
def own_config(config, own_mongo):
    return config.model_copy(update={"mongo_url": SecretStr(own_mongo.url)})


async def _refused_in_time(api, **headers):
    began = time.monotonic()
    response = await api.post(BODY, **headers)
    seconds = time.monotonic() - began
    assert int(response.headers["Retry-After"]) >= 1
    problem = await api.problem(response, 503, "store-unavailable")
    assert "id" not in problem
    assert seconds < 2.2  # the promise is two seconds; a busy machine may answer a little late
    return seconds


async def test_a_killed_mongodb_is_told_within_two_seconds_and_the_service_comes_back(own_config, make_api, own_mongo):
    api = await make_api(own_config)
    view = await api.submit()
    await asyncio.to_thread(own_mongo.kill)
    await asyncio.sleep(0.3)
    await _refused_in_time(api)
    await _refused_in_time(api, Idempotency_Key="k")
    response = await api.client.get("/readyz")
    assert response.status == 503
    assert (await response.json())["checks"]["mongo"]["ok"] is False
    await api.problem(await api.client.get(f"/v1/jobs/{view['id']}"), 503, "store-unavailable")

    async def answers_at_once():
        return await _refused_in_time(api) < 0.2

    await eventually(answers_at_once, every=0.01)
    await asyncio.to_thread(own_mongo.start)

    async def accepts_again():
        return (await api.post(BODY)).status == 201

    await eventually(accepts_again, within=20)
    assert (await api.get(f"/v1/jobs/{view['id']}"))["id"] == view["id"]


async def test_a_frozen_mongodb_is_asked_before_a_job_is_sent_to_it(own_config, make_api, own_mongo):
    api = await make_api(own_config)
    await api.submit()
    own_mongo.pause()
    try:
        await asyncio.sleep(0.3)
        await _refused_in_time(api)
        await _refused_in_time(api, Idempotency_Key="k")
    finally:
        own_mongo.resume()

    async def accepts_again():
        return (await api.post(BODY)).status == 201

    await eventually(accepts_again, within=20)
    documents = await api.count()
    assert documents == 2


def _fail_inserts(server, mode, **data):
    with server.client() as client:
        client.admin.command("configureFailPoint", "failCommand", mode=mode, data={"failCommands": ["insert"]} | data)


async def test_an_insert_that_was_sent_and_not_confirmed_is_told_with_its_id(
    own_config, make_api, own_mongo, queue, monkeypatch
):
    monkeypatch.setattr("headrace.runtime.store.state_insert.INSERT_SECONDS", 1.0)
    api = await make_api(own_config)
    await api.complete()
    await api.submit()
    await asyncio.to_thread(_fail_inserts, own_mongo, "alwaysOn", closeConnection=True)
    response = await api.post(BODY, Idempotency_Key="k")
    problem = await api.problem(response, 503, "outcome-unknown")
    # Its place stays until recovery has looked.
    (found,) = await queue.locate("default", [problem["id"]])
    assert found.place == "reserved"
    await asyncio.to_thread(_fail_inserts, own_mongo, "off")
    assert (await api.post(BODY, Idempotency_Key="k")).status == 201
    assert await api.count() == 2


async def test_an_insert_whose_confirmation_was_lost_is_not_denied(own_config, make_api, own_mongo):
    api = await make_api(own_config)
    await api.submit()
    lost = {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}
    await asyncio.to_thread(_fail_inserts, own_mongo, {"times": 1}, writeConcernError=lost)
    response = await api.post(BODY)
    # Found by the look-up, or still on its way to the majority.
    problem = None if response.status == 201 else await api.problem(response, 503, "outcome-unknown")
    job_id = (await response.json())["id"] if problem is None else problem["id"]

    async def is_there():
        return (await api.client.get(f"/v1/jobs/{job_id}")).status == 200

    await eventually(is_there)


async def test_one_document_that_mongodb_refuses_fails_no_neighbour(own_config, make_api):
    api = await make_api(own_config)
    await api.submit()
    await api.database.handle.command("collMod", "jobs", validator={"tags.bad": {"$exists": False}})
    bodies = [BODY | {"tags": {"bad": "1"} if n == 3 else {}} for n in range(8)]
    responses = await asyncio.gather(*(api.post(body) for body in bodies))
    assert [response.status for response in responses] == [201] * 3 + [503] + [201] * 4
    assert await api.count() == 8


async def test_what_waits_too_long_for_its_turn_is_refused_and_leaves_nothing(own_config, make_api, failpoint):
    api = await make_api(own_config)
    await api.submit()
    failpoint("before_mongo_insert=sleep:3000")
    posted = []
    for _ in range(LANES + 1):
        posted.append(asyncio.create_task(api.post(BODY)))
        await asyncio.sleep(0.02)
    done, _ = await asyncio.wait(posted, return_when=asyncio.FIRST_COMPLETED)
    await api.problem(done.pop().result(), 503, "store-unavailable")
    failpoint("")
    statuses = sorted([(await task).status for task in posted])
    assert statuses == [201] * LANES + [503]
    assert await api.count() == 1 + LANES


async def test_the_service_starts_without_mongodb_and_works_when_it_comes(own_config, make_api, own_mongo):
    await asyncio.to_thread(own_mongo.stop)
    api = await make_api(own_config, register=False)
    assert (await api.client.get("/healthz")).status == 200
    await _refused_in_time(api)
    await asyncio.to_thread(own_mongo.start)

    async def answers():
        response = await api.post(BODY)
        return response.status == 422

    await eventually(answers, within=20)


async def test_an_insert_that_could_not_be_sent_keeps_nothing_and_gives_its_place_back(
    own_config, make_api, own_mongo, queue, failpoint, monkeypatch
):
    monkeypatch.setattr("headrace.runtime.store.state_insert.INSERT_SECONDS", 1.0)
    api = await make_api(own_config)
    await api.complete()
    await api.submit()
    failpoint("before_mongo_insert=sleep:600")
    posted = asyncio.create_task(api.post(BODY))
    await eventually(lambda: _reserved(queue, 1))
    await asyncio.to_thread(own_mongo.kill)
    await api.problem(await posted, 503, "store-unavailable")
    await eventually(lambda: _reserved(queue, 0))


async def _reserved(queue, count):
    return (await queue.depths("default")).reserved == count


async def test_a_count_that_fails_keeps_nothing(own_config, make_api, own_mongo):
    api = await make_api(own_config.model_copy(update={"queue_size_limit": 1}))  # the next one needs a new count
    await api.submit()

    def fail():
        with own_mongo.client() as client:
            data = {"failCommands": ["aggregate"], "errorCode": 91}
            client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)

    await asyncio.to_thread(fail)
    await api.problem(await api.post(BODY), 503, "store-unavailable")
