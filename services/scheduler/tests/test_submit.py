"""Submissions that are accepted: what is stored, what waits where, what is answered."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

DIGITS = (
    b'{"f": 1.10, "e": 1e400, "E": -1.5E+3, "zero": -0.0, "big": 123456789012345678901234567890123456789012345,'
    b' "$where": {"a.b": "\\u00e9\\/"}, "": [ 1 , 2 ]}'
)
KEPT = (
    '{"f":1.10,"e":1e400,"E":-1.5E+3,"zero":-0.0,"big":123456789012345678901234567890123456789012345,'
    '"$where":{"a.b":"\\u00e9\\/"},"":[1,2]}'
)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_an_accepted_job_is_stored_whole_and_waits_in_redis(api, queue):
    await api.complete()
    response = await api.post({"type": "any", "payload": {"a": 1}})
    view = await response.json()
    assert response.status == 201
    assert response.headers["Location"] == f"/v1/jobs/{view['id']}"
    assert view | {"id": "", "created_at": "", "run_at": ""} == {
        "id": "",
        "type": "any",
        "pool": "default",
        "priority": "medium",
        "state": "queued",
        "indexed": True,
        "attempt": 0,
        "failures": 0,
        "crashes": 0,
        "max_retries": api.config.max_retries,
        "timeout_seconds": api.config.timeout_seconds,
        "created_at": "",
        "run_at": "",
        "claimed_at": None,
        "started_at": None,
        "finished_at": None,
        "progress": None,
        "checkpoint_at": None,
        "cancel_requested_at": None,
        "error": None,
        "tags": {},
        "owner": None,
        "unique_key": None,
        "replay_of": None,
        "discarded_at": None,
        "payload": {"a": 1},
        "result": None,
    }
    assert await api.get(f"/v1/jobs/{view['id']}") == view
    (found,) = await queue.locate("default", [view["id"]])
    assert found.place == "ready"


async def test_times_come_from_redis_and_the_place_in_the_queue_from_the_document(api, queue):
    await api.complete()
    before = await queue.time_ms()
    view = await api.submit(priority="high")
    after = await queue.time_ms()
    created_ms = int(_time(view["created_at"]).timestamp() * 1000 + 0.5)
    assert before <= created_ms <= after
    assert view["run_at"] == view["created_at"]
    (found,) = await queue.locate("default", [view["id"]])
    assert found.score == created_ms


async def test_the_log_begins_with_the_submission(api):
    view = await api.submit()
    history = await api.get(f"/v1/jobs/{view['id']}/history")
    assert history == {
        "transitions": [
            {
                "seq": 0,
                "from": None,
                "to": "queued",
                "attempt": 0,
                "owner": None,
                "at": view["created_at"],
                "reason": "submitted",
            }
        ],
        "errors": [],
    }
    document = await api.database.jobs.find_one({"_id": view["id"]})
    assert document["log"][0]["by"] == "scheduler"


async def test_what_the_type_says_beats_the_settings_and_the_submission_beats_both(api):
    by_type = await api.submit(type="echo", payload={"n": 1})
    assert (by_type["pool"], by_type["timeout_seconds"], by_type["max_retries"]) == ("cpu", 60, 2)
    asked = await api.submit(type="echo", payload={}, timeout_seconds=9.0, max_retries=0)
    assert (asked["timeout_seconds"], asked["max_retries"]) == (9, 0)
    document = await api.database.jobs.find_one({"_id": asked["id"]})
    assert document["contract_version"] == 3


async def test_everything_that_can_be_asked_is_kept(api):
    view = await api.submit(
        priority="low", expires_in_seconds=1.5, delay_seconds=60, unique_key="k", tags={"team": "search", "a.b": "$x"}
    )
    assert view["priority"] == "low"
    assert view["unique_key"] == "k"
    assert view["tags"] == {"team": "search", "a.b": "$x"}
    document = await api.database.jobs.find_one({"_id": view["id"]})
    assert document["expires_at"] - document["run_at"] == timedelta(seconds=1.5)
    assert document["run_at"] - document["created_at"] == timedelta(seconds=60)
    assert document["submitted_by"] == "local"


async def test_a_delayed_job_waits_among_the_delayed_until_it_is_due(api, queue):
    await api.complete()
    run_at = datetime.now(UTC) + timedelta(hours=1)
    by_delay = await api.submit(delay_seconds=0.25 + 3600)
    by_time = await api.submit(run_at=run_at.isoformat(), delay_seconds=0)
    assert _time(by_delay["run_at"]) - _time(by_delay["created_at"]) == timedelta(seconds=3600.25)
    assert _time(by_time["run_at"]) == run_at.replace(microsecond=run_at.microsecond // 1000 * 1000)
    found = await queue.locate("default", [by_delay["id"], by_time["id"]])
    assert [item.place for item in found] == ["delayed", "delayed"]
    assert found[1].score == int(_time(by_time["run_at"]).timestamp() * 1000 + 0.5)


async def test_a_time_in_the_past_is_due_at_once_and_its_expiry_counts_from_now(api, queue):
    await api.complete()
    for text in ("2001-01-01T00:00:00Z", "0001-01-02T00:00:00+14:00"):
        view = await api.submit(run_at=text, expires_in_seconds=3600)
        (found,) = await queue.locate("default", [view["id"]])
        assert found.place == "ready"
        document = await api.database.jobs.find_one({"_id": view["id"]})
        assert document["expires_at"] == document["created_at"] + timedelta(seconds=3600)


async def test_a_payload_keeps_its_digits_its_order_and_its_escapes(api):
    response = await api.post(raw=b'{"payload": ' + DIGITS + b', "type": "any"}')
    assert response.status == 201
    text = await response.text()
    assert f'"payload":{KEPT},"result":null' in text
    view_id = json.loads(text)["id"]
    document = await api.database.jobs.find_one({"_id": view_id})
    assert document["payload"] == KEPT
    again = await api.client.get(f"/v1/jobs/{view_id}")
    assert KEPT in await again.text()


async def test_a_payload_may_be_any_json_value(api):
    for payload in ("null", "0", "false", '""', "[]", "9" * 6000, "-" + "8" * 6000):
        response = await api.post(raw=b'{"type": "any", "payload": %s}' % payload.encode())
        assert response.status == 201, await response.text()
        assert f'"payload":{payload},' in await response.text()


async def test_sixty_four_levels_are_allowed_in_a_payload(api):
    payload = "[" * 64 + "]" * 64
    response = await api.post(raw=b'{"type": "any", "payload": %s}' % payload.encode())
    assert response.status == 201


async def test_the_result_of_a_job_keeps_its_digits_too(api):
    view = await api.submit()
    await api.database.jobs.update_one({"_id": view["id"]}, {"$set": {"result": '{"x":1.10}'}})
    response = await api.client.get(f"/v1/jobs/{view['id']}")
    assert '"result":{"x":1.10}' in await response.text()


async def test_jobs_wait_in_the_order_in_which_they_came(api, queue):
    await api.complete()
    ids = [(await api.submit())["id"] for _ in range(5)]
    claim = await queue.claim("default", token="t", count=5)
    assert list(claim.ids) == ids


async def test_a_type_that_was_registered_just_now_is_known_at_once(make_api, config):
    api = await make_api(config, register=False)
    await api.problem(await api.post({"type": "any", "payload": 1}), 422, "unknown-job-type")
    later = await make_api(config)
    assert (await later.submit())["type"] == "any"
    assert (await api.submit())["type"] == "any"


async def test_submissions_are_counted(api):
    await api.submit()
    await api.problem(await api.post({"type": "nope", "payload": 1}), 422, "unknown-job-type")
    text = await (await api.client.get("/metrics")).text()
    assert 'job_enqueued_total{queue="default",type="any"} 1.0' in text
    assert 'job_refused_total{code="unknown-job-type"} 1.0' in text
    assert "job_submit_seconds_count 2.0" in text
    assert 'job_breaker_open{breaker="mongo"} 0.0' in text
    assert 'job_queue_overshoot{queue="default"} 0.0' in text


async def test_the_base_path_stands_in_front_of_the_location(make_api, config):
    api = await make_api(config.model_copy(update={"http_base_path": "/jobs-api"}))
    response = await api.client.post("/jobs-api/v1/jobs", json={"type": "any", "payload": 1})
    assert response.status == 201
    assert response.headers["Location"].startswith("/jobs-api/v1/jobs/")
