"""Replays of single jobs and of dead letters; what is discarded is hidden, and nothing else of an ended job changes."""

from __future__ import annotations

import asyncio

import pytest

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.job import JobError
from headrace.contracts.states import JobState
from headrace.runtime.process.ids import new_job_id
from headrace.runtime.store.documents import to_document
from headrace.scheduler import dead_letters
from headrace.scheduler.replays import Replays
from headrace.scheduler.services import SERVICES
from headrace.testing.builders import make_job


def dead(**fields):
    """An ended job; the fingerprint of its error is its tenant, or `f`."""
    job = make_job(**{"type": "any", "state": JobState.FAILED, "tags": {"a": "b"}, "payload": '{"n": 1.00}'} | fields)
    error = JobError(type="E", message="broke", fingerprint=job.tenant or "f", at=job.created_at)
    return job.evolve(finished_at=job.created_at, error=job.error or error)


@pytest.fixture
def put(api):
    async def store(*jobs, to=api):
        await to.database.jobs.insert_many([to_document(job) for job in jobs])
        return [job.id for job in jobs]

    return store


async def post(api, path, body=None, **headers):
    return await api.client.post(path, json={} if body is None else body, headers=headers)


async def act(api, verb, body=None, **headers):
    response = await post(api, f"/v1/dead-letters/{verb}", body, **headers)
    assert response.status == 200, await response.text()
    return await response.json()


async def stored(api, job_id):
    return await api.database.jobs.find_one({"_id": job_id})


# -- one job -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.COMPLETED, JobState.CANCELLED])
async def test_a_job_that_is_over_is_replayed_as_a_new_job(api, put, queue, state):
    await api.complete()
    old = dead(state=state, max_retries=7, timeout_seconds=61.0, result="1")
    await put(old)
    before = await stored(api, old.id)
    response = await post(api, f"/v1/jobs/{old.id}/replay")
    assert response.status == 201
    job = await response.json()
    assert response.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["attempt"], job["replay_of"], job["result"]) == ("queued", 0, old.id, None)
    assert (job["max_retries"], job["timeout_seconds"], job["tags"]) == (7, 61.0, {"a": "b"})
    assert (await stored(api, job["id"]))["payload"] == '{"n": 1.00}'
    assert await stored(api, old.id) == before | {"replayed_by": job["id"]}
    assert (await queue.claim("default", token="t", count=9)).ids == (job["id"],)


async def test_only_what_is_over_is_replayed(api, put):
    job = await api.submit()
    problem = await api.problem(await post(api, f"/v1/jobs/{job['id']}/replay"), 409, "not-terminal")
    assert problem["id"] == job["id"]
    await api.problem(await post(api, f"/v1/jobs/{new_job_id()}/replay"), 404, "not-found")
    await api.problem(await post(api, "/v1/jobs/nonsense/replay"), 404, "not-found")


async def test_b14_a_replay_takes_the_unique_key_again_and_never_the_idempotency_key(api):
    first = await (await api.post({"type": "any", "payload": 1, "unique_key": "u"}, Idempotency_Key="k")).json()
    await api.cancel(first["id"])
    again = await (await post(api, f"/v1/jobs/{first['id']}/replay")).json()
    assert (again["unique_key"], "idempotency" in await stored(api, again["id"])) == ("u", False)
    problem = await api.problem(await post(api, f"/v1/jobs/{first['id']}/replay"), 409, "duplicate-job")
    assert problem["id"] == again["id"]
    repeat = await api.post({"type": "any", "payload": 1, "unique_key": "u"}, Idempotency_Key="k")
    assert (repeat.status, (await repeat.json())["id"]) == (200, first["id"])


async def test_a_replay_with_a_key_is_made_once(api, put):
    one, two = await put(dead(), dead())
    path = f"/v1/jobs/{one}/replay"
    answers = await asyncio.gather(*(post(api, path, **{"Idempotency-Key": "k"}) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert len({(await answer.json())["id"] for answer in answers}) == 1
    other = await post(api, f"/v1/jobs/{two}/replay", **{"Idempotency-Key": "k"})
    await api.problem(other, 422, "idempotency-mismatch")


async def test_a_replay_is_checked_as_a_submission_is(make_api, config, put):
    api = await make_api(config.model_copy(update={"queue_size_limit": 1}))
    await api.complete()
    wrong = dead(type="echo", payload='{"n": -1}', contract_version=3)
    unknown, wrong, right = await put(dead(type="gone"), wrong, dead(), to=api)
    await api.problem(await post(api, f"/v1/jobs/{unknown}/replay"), 422, "unknown-job-type")
    await api.problem(await post(api, f"/v1/jobs/{wrong}/replay"), 422, "invalid-payload")
    await api.submit()
    await api.problem(await post(api, f"/v1/jobs/{right}/replay"), 429, "queue-full")


async def test_a_payload_of_an_older_version_stays_one_for_its_worker_to_make_new(api, put):
    (old,) = await put(dead(type="echo", payload='{"was": "n"}', contract_version=2))
    replay = await (await post(api, f"/v1/jobs/{old}/replay")).json()
    document = await stored(api, replay["id"])
    assert (document["contract_version"], document["payload"]) == (2, '{"was": "n"}')


# -- dead letters --------------------------------------------------------------------------------------------


async def test_dead_letters_are_browsed_by_what_they_are(api, put):
    error = JobError(type="E", message="other", fingerprint="g", at=make_job().created_at)
    ids = await put(dead(), dead(pool="big"), dead(type="echo", error=error), dead(state=JobState.COMPLETED))

    async def listed(query=""):
        return [job["id"] for job in (await api.get(f"/v1/dead-letters{query}"))["jobs"]]

    assert await listed() == ids[2::-1]
    assert await listed("?type=echo") == await listed("?fingerprint=g") == [ids[2]]
    assert await listed("?pool=big") == [ids[1]]
    page = await api.get("/v1/dead-letters?limit=2")
    assert "payload" not in page["jobs"][0]
    assert await listed(f"?limit=2&cursor={page['next_cursor']}") == [ids[0]]
    groups = (await api.get("/v1/dead-letters?group_by=fingerprint"))["groups"]
    assert [(group["fingerprint"], group["type"], group["count"]) for group in groups] == [
        ("f", "any", 2),
        ("g", "echo", 1),
    ]
    assert set(groups[0]) == {"fingerprint", "type", "count", "first_at", "last_at", "sample_message"}
    for query in ("?group_by=type", "?cursor=x", "?limit=201", "?state=failed"):
        await api.problem(await api.client.get(f"/v1/dead-letters{query}"), 422, "validation")


async def test_dead_letters_are_replayed_once_the_oldest_first(api, put):
    ids = await put(*(dead() for _ in range(5)))
    assert await act(api, "replay", {"limit": 2}) == {"matched": 5, "done": 2, "refused": []}
    marks = {job_id: (await stored(api, job_id)).get("replayed_by") for job_id in ids}
    assert [bool(marks[job_id]) for job_id in ids] == [True, True, False, False, False]
    for job_id in ids[:2]:
        assert (await api.get(f"/v1/jobs/{marks[job_id]}"))["replay_of"] == job_id
    assert await act(api, "replay", {"filter": {"ids": ids[:3]}}) == {
        "matched": 1,
        "done": 1,
        "refused": [{"id": job_id, "code": "duplicate-job"} for job_id in ids[:2]],
    }
    assert (await act(api, "replay"))["done"] == 2
    assert await act(api, "replay") == {"matched": 0, "done": 0, "refused": []}
    assert await api.count() == 10


async def test_replays_at_the_same_time_make_each_job_once(make_api, config, put):
    apis = [await make_api(config) for _ in range(2)]
    ids = await put(*(dead() for _ in range(30)), to=apis[0])
    await asyncio.gather(*(act(apis[n % 2], "replay") for n in range(6)))
    assert await apis[0].count() == 60
    replays = {doc["replay_of"]: doc["_id"] async for doc in apis[0].database.jobs.find({"state": "queued"})}
    assert {job_id: (await stored(apis[0], job_id))["replayed_by"] for job_id in ids} == replays


async def test_a_replay_that_fails_at_once_is_not_replayed_by_the_same_action(api, put, monkeypatch):
    """Without an end to what it began with, one action would replay its own replays, up to its limit."""
    monkeypatch.setattr(dead_letters, "STRETCH", 1)
    old = await put(dead(), dead())
    take = Replays.replay_all

    async def replay_and_fail(self, jobs, types, *, token):
        outcomes = await take(self, jobs, types, token=token)
        await put(*[dead() for _ in jobs])
        return outcomes

    monkeypatch.setattr(Replays, "replay_all", replay_and_fail)
    answer = await act(api, "replay")
    assert (answer["matched"], answer["done"]) == (2, 2)
    assert [bool((await stored(api, job_id)).get("replayed_by")) for job_id in old] == [True, True]


async def test_a_replay_whose_mark_was_lost_is_found_again(api, put):
    (job_id,) = await put(dead())
    await act(api, "replay")
    await api.database.jobs.update_one({"_id": job_id}, {"$unset": {"replayed_by": 1}})
    assert await act(api, "replay") == {"matched": 1, "done": 1, "refused": []}
    assert await api.count() == 2
    assert (await stored(api, job_id))["replayed_by"]


async def test_a_dry_run_checks_against_todays_schema_and_does_nothing(api, put):
    good, wrong, unknown = await put(
        dead(), dead(type="echo", payload='{"n": -1}', contract_version=3), dead(type="gone")
    )
    waiting = await api.submit()
    body = {"filter": {"ids": [good, wrong, unknown, waiting["id"], "no-such-id"]}, "dry_run": True}
    answer = await act(api, "replay", body)
    assert (answer["matched"], answer["done"]) == (3, 0)
    assert {item["id"]: item["code"] for item in answer["refused"]} == {
        wrong: "invalid-payload",
        unknown: "unknown-job-type",
        waiting["id"]: "not-terminal",
        "no-such-id": "not-found",
    }
    assert await act(api, "discard", {"dry_run": True}) == {"matched": 3, "done": 0, "refused": []}
    assert await api.count() == 4
    assert (await act(api, "replay", body | {"dry_run": False}))["done"] == 1


async def test_what_the_bound_or_a_unique_key_refuses_is_told_for_each(make_api, config, put):
    api = await make_api(config.model_copy(update={"queue_size_limit": 2}))
    await api.complete()
    ids = await put(dead(unique_key="u"), dead(unique_key="u"), dead(), dead(), to=api)
    answer = await act(api, "replay")
    assert answer["done"] == 1
    assert sorted(item["code"] for item in answer["refused"]) == ["duplicate-job", "queue-full", "queue-full"]
    assert {item["id"] for item in answer["refused"]} == set(ids[1:])


async def test_discarded_jobs_are_hidden_and_their_state_stays(api, put):
    ids = await put(dead(), dead(), dead(pool="big"))
    before = await stored(api, ids[0])
    assert await act(api, "discard", {"filter": {"pool": "default"}, "limit": 1}) == {
        "matched": 2,
        "done": 1,
        "refused": [],
    }
    after = await stored(api, ids[0])
    assert after == before | {"discarded_at": after["discarded_at"]}
    assert [job["id"] for job in (await api.get("/v1/dead-letters"))["jobs"]] == [ids[2], ids[1]]
    assert (await api.get(f"/v1/jobs/{ids[0]}"))["discarded_at"] is not None
    answer = await act(api, "discard", {"filter": {"ids": ids}})
    assert answer == {"matched": 2, "done": 2, "refused": [{"id": ids[0], "code": "not-found"}]}
    assert (await act(api, "replay"))["matched"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 0},
        {"limit": 10_001},
        {"filter": {"state": "failed"}},
        {"dry_run": "yes"},
        {"more": 1},
        {"filter": {"ids": "x"}},
    ],
)
async def test_a_wrong_action_is_refused(api, body):
    for verb in ("replay", "discard"):
        await api.problem(await post(api, f"/v1/dead-letters/{verb}", body), 422, "validation")


async def test_a_tenant_acts_on_its_own_jobs_and_its_replays_stay_its_own(make_api, config, tokens_file, put):
    api = await make_api(config.model_copy(update={"api_tokens_file": tokens_file}))
    red, blue = await put(dead(tenant="red"), dead(tenant="blue"), to=api)
    hers = api.bearer("red")
    await api.problem(await post(api, f"/v1/jobs/{blue}/replay", **hers), 404, "not-found")
    assert [job["id"] for job in (await api.get("/v1/dead-letters", **hers))["jobs"]] == [red]
    groups = (await api.get("/v1/dead-letters?group_by=fingerprint", **hers))["groups"]
    assert [group["fingerprint"] for group in groups] == ["red"]
    asked = {"filter": {"ids": [red, blue]}}
    for verb in ("replay", "discard"):
        answer = await act(api, verb, asked, **hers)
        assert answer == {"matched": 1, "done": 1, "refused": [{"id": blue, "code": "not-found"}]}
    assert (await stored(api, blue)).keys().isdisjoint({"replayed_by", "discarded_at"})
    theirs = await (await post(api, f"/v1/jobs/{blue}/replay", **api.bearer("admin"))).json()
    assert (await stored(api, theirs["id"]))["tenant"] == "blue"


async def test_without_mongodb_a_replay_is_refused(api, put, monkeypatch):
    (job_id,) = await put(dead())
    mongo = api.app[SERVICES].stores.mongo

    async def down(*_args, **_kwargs):
        raise StoreUnavailableError("down")

    monkeypatch.setattr(mongo, "read", down)
    for path in (f"/v1/jobs/{job_id}/replay", "/v1/dead-letters/replay", "/v1/dead-letters/discard"):
        await api.problem(await post(api, path), 503, "store-unavailable")
