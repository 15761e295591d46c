from __future__ import annotations

import asyncio
import json

import pytest

from headrace.monitor import json_text
from headrace.monitor.site import live
from headrace.runtime.process.lifecycle import STOPPING
from headrace.testing.eventually import eventually


async def next_event(answer) -> tuple[str, str]:
    event = ""
    while True:
        line = (await asyncio.wait_for(answer.content.readline(), timeout=30)).decode()
        name, _, value = line.strip().partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            return event, value


async def test_a_job_that_moves_is_said_to_have_changed_and_one_that_rests_is_not(world, monitor, monkeypatch):
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(live, "COMMENT_SECONDS", 0.3)
    resting, job = await world.put(), await world.run(await world.put())
    async with monitor.get(f"/live?topics=job:{resting.id},job:{job.id}") as answer:
        assert answer.content_type == "text/event-stream"
        assert [(await next_event(answer))[0] for _ in range(3)] == ["hello", "still", "still"]
        await world.jobs.save_progress(job.id, 1, "w-1", fraction=0.5, message="half", started_ms_ago=1)
        while (told := await next_event(answer)) == ("still", "-"):
            pass
        assert told == ("changed", f"job:{job.id}")


async def test_the_whole_changes_all_the_time_and_each_page_says_how_often(monitor, monkeypatch):
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.05)
    async with monitor.get("/live?topics=every:1,every:60") as answer:
        assert [await next_event(answer) for _ in range(3)] == [("hello", "-"), *[("changed", "every:1")] * 2]


async def test_streams_end_with_the_service_are_counted_and_bounded(world, monitor, monkeypatch):
    monkeypatch.setattr(live, "MAX_STREAMS", 1)
    async with monitor.get("/live?topics=every:2") as answer:
        await next_event(answer)
        assert (await monitor.get("/live?topics=every:2")).status == 429
        assert "job_monitor_streams 1.0" in await (await monitor.get("/metrics")).text()
        monitor.app[STOPPING].set()
        assert await asyncio.wait_for(answer.content.read(), timeout=5) is not None


async def test_a_browser_that_went_away_gives_its_place_back(world, monitor, monkeypatch):
    monkeypatch.setattr(live, "MAX_STREAMS", 1)
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.05)
    job = await world.put()
    answer = await monitor.get(f"/live?topics=job:{job.id}")
    await next_event(answer)
    answer.close()

    async def is_free() -> bool:
        async with monitor.get(f"/live?topics=job:{job.id}") as again:
            return again.status == 200

    await eventually(is_free)


GONE = "job:01999999-0000-7000-8000-000000000000"


async def test_a_job_that_is_gone_has_no_stream_and_does_not_silence_others(world, monitor, monkeypatch):
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.05)
    assert (await monitor.get(f"/live?topics={GONE}")).status == 404
    async with monitor.get(f"/live?topics={GONE},every:1") as answer:
        assert [await next_event(answer) for _ in range(2)] == [("hello", "-"), ("changed", "every:1")]


async def test_topics_have_a_form_and_a_number(monitor):
    for topics in ("", "every:0", "every:61", "job:", "job:a/b", "all", "every:2,", ",".join(["every:2"] * 21)):
        assert (await monitor.get(f"/live?topics={topics}")).status == 422


# -- JSON of users, as it is shown ---------------------------------------------------------------------------------


def test_json_is_indented_and_numbers_keep_their_digits():
    text = '{"a": [1, {"b": 1.10, "c": 12345678901234567890123}], "e": {}, "f": [], "n": null, "t": "ü\\u0007"}'
    shown = json_text.show(text, redact=())
    assert shown is not None
    assert json.loads(shown.text) == json.loads(text)
    assert "1.10" in shown.text
    assert "12345678901234567890123" in shown.text
    assert "ü" in shown.text
    assert (shown.cut, shown.hidden, shown.size) == (False, 0, len(text.encode()))


@pytest.mark.parametrize("name", ["password", "DB_PASSWORD", "api_key", "Authorization", "sessionToken", "pin", "PIN"])
def test_secrets_are_hidden_whatever_they_hold(name):
    shown = json_text.show(json.dumps({"x": [{name: {"deep": "secret-value"}}]}), redact=("pin",))
    assert shown is not None
    assert "secret-value" not in shown.text
    assert shown.hidden == 1


def test_other_keys_are_not_hidden():
    shown = json_text.show('{"pinned": 1, "tokyo": 2}', redact=("pin",))
    assert shown is not None
    assert shown.hidden == 0


def test_long_texts_are_cut_and_what_is_no_json_is_not_shown():
    shown = json_text.show(json.dumps(["x" * 100] * 1000), redact=(), limit=500)
    assert shown is not None
    assert (len(shown.text), shown.cut) == (500, True)
    broken = json_text.show('{"password": "hunter2"', redact=())
    assert broken is not None
    assert "hunter2" not in broken.text
    assert json_text.show("[" * 100_000, redact=()) is not None
    assert json_text.show(None, redact=()) is None
