"""Cancel: at once while the job waits, by request while it runs, never once it is over; and who may."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from pydantic import SecretStr

from headrace.contracts.states import JobState, Reason
from headrace.runtime.process.ids import new_job_id
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.hints import Hints
from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import writing
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import Settlement
from headrace.testing.eventually import eventually


@pytest.fixture
async def states(config):
    database = Database(config, appname="test")
    yield JobStateManager(database)
    database.close()


async def _claim(states, job_id):
    (job,) = await states.claim([job_id], token="t-" + job_id, owner="w-1", types=["any", "echo"])
    return job


async def test_a_waiting_job_is_cancelled_at_once_and_leaves_redis(api, queue):
    await api.complete()
    job = await api.submit()
    response = await api.cancel(job["id"])
    view = await response.json()
    assert (response.status, view["state"]) == (200, "cancelled")
    assert view["payload"] == {}
    assert view["finished_at"] is not None

    async def is_gone():
        (found,) = await queue.locate("default", [job["id"]])
        return found.place is None

    await eventually(is_gone)
    again = await api.cancel(job["id"])
    assert (again.status, (await again.json())["state"]) == (200, "cancelled")
    history = await api.get(f"/v1/jobs/{job['id']}/history")
    assert [step["to"] for step in history["transitions"]] == ["queued", "cancelled"]


async def test_a_running_job_is_asked_to_stop_and_its_worker_is_told(api, states, config):
    job = await api.submit()
    await _claim(states, job["id"])
    client = redis_client(config.redis_url, kind="pubsub", name="test")
    heard = []

    async def listen():
        async for message in Hints(client, config.namespace).controls():
            heard.append(message)  # noqa: PERF401 -- it never ends

    listener = asyncio.create_task(listen())

    async def is_told():
        response = await api.cancel(job["id"])
        view = await response.json()
        assert (response.status, view["state"]) == (202, "processing")
        assert view["cancel_requested_at"] is not None
        return {"cancel": job["id"]} in heard

    await eventually(is_told, every=0.1)
    first = (await api.get(f"/v1/jobs/{job['id']}"))["cancel_requested_at"]
    assert (await (await api.cancel(job["id"])).json())["cancel_requested_at"] == first
    listener.cancel()
    await asyncio.wait([listener], timeout=5)
    await client.aclose()


@pytest.mark.parametrize(
    ("state", "reason"), [(JobState.COMPLETED, Reason.COMPLETED), (JobState.FAILED, Reason.FAILED)]
)
async def test_a_job_that_is_over_cannot_be_cancelled(api, states, state, reason):
    job = await api.submit()
    claimed = await _claim(states, job["id"])
    await states.settle([Settlement(job["id"], claimed.attempt, state, reason, result="1")], owner="w-1", by="w-1")
    problem = await api.problem(await api.cancel(job["id"]), 409, "already-terminal")
    assert problem["id"] == job["id"]
    assert (await api.get(f"/v1/jobs/{job['id']}"))["state"] == state


async def test_a_job_that_does_not_exist_cannot_be_cancelled(api):
    for job_id in (new_job_id(), "nope", "$where", "0199"):
        await api.problem(await api.cancel(job_id), 404, "not-found")
    await api.problem(await api.client.post(f"/v1/jobs/{new_job_id()}/cancel?force=1"), 422, "validation")


async def test_who_may_cancel(make_api, config, tokens_file):
    api = await make_api(config.model_copy(update={"api_tokens_file": tokens_file}))
    response = await api.post({"type": "any", "payload": 1}, **api.bearer("submitter"))
    job = await response.json()
    await api.problem(await api.cancel(job["id"]), 401, "unauthorized")
    for name in ("other-submitter", "reader"):
        await api.problem(await api.cancel(job["id"], **api.bearer(name)), 403, "forbidden")
    for name in ("red", "blue"):
        await api.problem(await api.cancel(job["id"], **api.bearer(name)), 404, "not-found")
    for name in ("submitter", "operator", "admin"):
        assert (await api.cancel(job["id"], **api.bearer(name))).status == 200
    await api.problem(await api.cancel(new_job_id(), **api.bearer("submitter")), 404, "not-found")


async def test_a_cancel_that_is_not_confirmed_is_told_with_the_id(config, own_mongo, make_api, monkeypatch):
    monkeypatch.setattr("headrace.runtime.store.state_cancel.writing", partial(writing, seconds=1.0))
    api = await make_api(config.model_copy(update={"mongo_url": SecretStr(own_mongo.url)}))
    job = await api.submit()

    def fail():
        with own_mongo.client() as client:
            data = {"failCommands": ["findAndModify"], "closeConnection": True}
            client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)

    await asyncio.to_thread(fail)
    problem = await api.problem(await api.cancel(job["id"]), 503, "outcome-unknown")
    assert problem["id"] == job["id"]


async def test_one_of_cancel_and_completion_wins_and_the_answer_names_it(api, states):
    async def race(delay):
        job = await api.submit()
        claimed = await _claim(states, job["id"])
        done = Settlement(job["id"], claimed.attempt, JobState.COMPLETED, Reason.COMPLETED, result="1")

        async def cancel():
            await asyncio.sleep(delay)
            return await api.cancel(job["id"])

        response, _ = await asyncio.gather(cancel(), states.settle([done], owner="w-1", by="w-1"))
        state = (await api.get(f"/v1/jobs/{job['id']}"))["state"]
        assert (response.status, state) in {(202, "cancelled"), (200, "cancelled"), (409, "completed")}

    for n in range(20):
        await race(n * 0.0002)
