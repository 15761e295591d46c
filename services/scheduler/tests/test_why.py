"""`GET /v1/jobs/{id}/why`: every reason, alone and together, the place in the line and the time it takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from headrace.contracts.job import LogEntry
from headrace.contracts.states import JobState, Reason
from headrace.local.ports import free_port
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.pools import Pools
from headrace.runtime.store.state_manager import JobStateManager
from headrace.scheduler.why import MAX_POSITION, Surroundings, explain_waiting
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def found(**fields):
    values = {"now": NOW, "paused": None, "before": 0, "slots": 2, "busy": 0, "open_breakers": (), "rate": None}
    values["knows_type"] = True
    return Surroundings(**values | fields)


def waiting(**fields):
    return make_job(**{"run_at": NOW, "created_at": NOW, "updated_at": NOW} | fields)


def codes(view):
    return [reason.code for reason in view.reasons]


def test_a_job_that_nothing_holds_up_is_first_in_line():
    view = explain_waiting(waiting(), found(rate=2.0))
    assert (codes(view), view.position, view.eta_seconds) == (["behind"], 1, 0.5)
    assert "no job" in view.reasons[0].detail


def test_the_place_in_the_line_and_the_rate_give_a_time():
    view = explain_waiting(waiting(), found(before=16, rate=4.0))
    assert (codes(view), view.position, view.eta_seconds) == (["behind"], 17, 4.2)
    assert view.reasons[0].detail == "16 jobs are claimed before it"
    assert explain_waiting(waiting(), found(before=16)).eta_seconds is None
    assert explain_waiting(waiting(), found(before=16, rate=0.0)).eta_seconds is None


def test_far_behind_has_no_position():
    view = explain_waiting(waiting(), found(before=MAX_POSITION, rate=4.0))
    assert (codes(view), view.position, view.eta_seconds) == (["behind"], None, None)


@pytest.mark.parametrize(
    ("code", "fields", "has_time"),
    [
        ("paused", {"paused": "rain"}, False),
        ("no-worker", {"slots": 0}, False),
        ("pool-at-capacity", {"busy": 2}, True),
        ("dependency-open", {"open_breakers": ("Redis",)}, True),
    ],
)
def test_what_stands_still_has_no_time(code, fields, has_time):
    view = explain_waiting(waiting(), found(rate=1.0, **fields))
    assert codes(view) == [code]
    assert view.position == 1
    assert (view.eta_seconds is not None) is has_time


def test_every_reason_that_holds_is_told():
    job = waiting(indexed=False)
    view = explain_waiting(job, found(paused="", before=1, slots=0, open_breakers=("Redis",)))
    assert codes(view) == ["paused", "dependency-open", "not-indexed", "no-worker", "behind"]
    assert view.reasons[-1].detail == "1 job is claimed before it"


def test_a_retry_that_waits_is_told_from_a_delay():
    later = NOW + timedelta(seconds=5)
    retry = LogEntry(
        seq=0, from_=JobState.PROCESSING, to=JobState.QUEUED, attempt=1, at=NOW, reason=Reason.RETRY
    )  # fmt: skip
    view = explain_waiting(waiting(run_at=later, failures=1, log=(retry,)), found(before=None))
    assert (codes(view), view.position) == (["backoff"], None)
    assert view.reasons[0].detail == "it failed 1 of 4 times; the next is at 2025-01-01T00:00:05.000Z"
    assert codes(explain_waiting(waiting(run_at=later), found(before=None, busy=2))) == ["delayed"]


async def with_worker(api, *, pool="default", types=("any",), slots=2):
    await Incarnations(api.database).register(
        "w-1", service="s", host="h", pool=pool, types=types, slots=slots, version="0", lease_seconds=60
    )
    return JobStateManager(api.database)


async def why(api, view):
    answer = await api.get(f"/v1/jobs/{view['id']}/why")
    assert set(answer) == {"reasons", "position", "eta_seconds"}
    assert all(set(reason) == {"code", "detail"} for reason in answer["reasons"])
    return [reason["code"] for reason in answer["reasons"]], answer["position"]


async def test_the_line_is_the_order_of_the_claims(api):
    await api.complete()
    await with_worker(api)
    low = await api.submit(priority="low")
    medium = await api.submit()
    again = await api.submit()
    high = await api.submit(priority="high")
    await api.submit(priority="high", delay_seconds=60)
    await api.submit(type="echo", priority="high")
    for position, view in enumerate([high, medium, again, low], start=1):
        assert await why(api, view) == (["behind"], position)


async def test_a_job_runs_and_is_over(api):
    await api.complete()
    state = await with_worker(api, slots=1)
    first, second = await api.submit(), await api.submit()
    await state.claim([first["id"]], token="t", owner="w-1", types=["any"])
    assert await why(api, first) == (["running"], None)
    assert await why(api, second) == (["pool-at-capacity"], 1)
    await api.cancel(first["id"])
    answer = await api.get(f"/v1/jobs/{first['id']}/why")
    assert "cancel was asked for" in answer["reasons"][0]["detail"]
    await api.cancel(second["id"])
    assert await why(api, second) == (["terminal"], None)


async def test_delayed_paused_and_without_a_worker(api):
    await api.complete()
    delayed = await api.submit(delay_seconds=60)
    assert await why(api, delayed) == (["delayed", "no-worker"], None)
    await with_worker(api, types=("other",))
    view = await api.submit()
    assert await why(api, view) == (["no-worker"], 1)
    await Pools(api.database).pause("default", "too hot", "me")
    assert await why(api, view) == (["paused", "no-worker"], 1)
    answer = await api.get(f"/v1/jobs/{view['id']}/why")
    assert "too hot" in answer["reasons"][0]["detail"]


async def test_a_worker_that_knows_an_older_version_alone_is_none(api):
    await api.complete()
    await with_worker(api)
    view = await api.submit()
    older = {"$set": {"versions": {"any": 0}}}
    await api.database.workers.update_one({"_id": "w-1"}, older)
    answer = await api.get(f"/v1/jobs/{view['id']}/why")
    assert [(reason["code"], reason["detail"]) for reason in answer["reasons"]] == [
        ("no-worker", "no living worker of the pool default knows the version 1 of the type any")
    ]
    same = {"$set": {"versions": {"any": 1}}}
    await api.database.workers.update_one({"_id": "w-1"}, same)
    assert (await why(api, view))[0] == ["behind"]


async def test_a_dead_worker_is_none(api):
    await api.complete()
    await with_worker(api)
    await api.database.workers.update_one({"_id": "w-1"}, {"$set": {"dead_at": datetime.now(UTC)}})
    assert (await why(api, await api.submit()))[0] == ["no-worker"]


async def test_while_redis_is_away(make_api, config):
    nowhere = SecretStr(f"redis://127.0.0.1:{free_port()}")
    api = await make_api(config.model_copy(update={"redis_url": nowhere}))
    await with_worker(api)
    view = await api.submit()

    async def told():
        return set((await why(api, view))[0]) == {"dependency-open", "not-indexed"}

    await eventually(told)


async def test_wrong_questions_are_refused(api):
    await api.problem(await api.client.get("/v1/jobs/x/why"), 404, "not-found")
    view = await api.submit()
    await api.problem(await api.client.get(f"/v1/jobs/{view['id']}/why?x=1"), 422, "validation")
