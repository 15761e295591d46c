from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from monitor_pages import EVIL, Checked, page

from headrace.contracts.job import Idempotency, Priority
from headrace.monitor.pages.common import PAGE_JOBS
from headrace.runtime.store import job_search
from headrace.runtime.store.audit import AuditLog
from headrace.runtime.store.breakers import DependencyBreakers


def rows(text: str) -> list[str]:
    return re.findall(r'<tr id="row-([^"]+)"', text)


async def test_jobs_are_found_by_each_filter_and_by_several(world, monitor):
    plain = await world.put()
    high = await world.put(priority=Priority.HIGH, pool="mail", type="send", tags={"a.b": "$x"})
    failed = await world.put(type="send")
    await world.fail(failed, "boom")
    running = await world.run(await world.put())
    for query, expected in {
        "": [running.id, failed.id, high.id, plain.id],
        "state=failed": [failed.id],
        "state=queued&pool=mail": [high.id],
        "type=send": [failed.id, high.id],
        "type=send&state=failed&error=ValueError": [failed.id],
        "priority=high": [high.id],
        "tag=a.b:$x": [high.id],
        "worker=w-1": [running.id],
        "age=15m": [running.id, failed.id, high.id, plain.id],
        "age=15m&pool=mail": [high.id],
        "error=Nothing": [],
        "state=&type=&pool=&q=": [running.id, failed.id, high.id, plain.id],
    }.items():
        assert rows(await page(monitor, f"/jobs?{query}")) == expected, query
    assert "4 jobs" in await page(monitor, "/jobs")
    assert "1 job matches" in await page(monitor, "/jobs?state=failed")
    assert "No job matches" in await page(monitor, "/jobs?state=cancelled")
    for wrong in ("tag=novalue", "state=nonsense", "colour=red"):
        await page(monitor, f"/jobs?{wrong}", 422)


async def test_a_job_is_found_by_its_id_the_beginning_of_it_and_its_key(world, monitor):
    job = await world.put(idempotency=Idempotency(scope="local", key="order-17", digest="d"))
    whole = await monitor.get(f"/jobs?q={job.id.upper()}", allow_redirects=False)
    assert whole.headers["Location"] == f"/jobs/{job.id}"
    for text in (job.id[:13], "order-17"):
        assert rows(await page(monitor, f"/jobs?q={text}")) == [job.id]
    assert rows(await page(monitor, "/jobs?q=order-1")) == []


async def test_older_jobs_are_a_click_away_until_the_end(world, monitor):
    for _ in range(PAGE_JOBS + 2):
        await world.put()
    first = await page(monitor, "/jobs?state=queued")
    older = re.search(r'rel="next" href="([^"]+)"', first)[1].replace("&amp;", "&")
    second = await page(monitor, older)
    assert (len(rows(first)), len(rows(second))) == (PAGE_JOBS, 2)
    assert not set(rows(first)) & set(rows(second))
    assert 'rel="next"' not in second
    assert "Newest" in second


async def test_filters_without_an_index_look_at_a_stretch_and_go_on_from_there(world, monitor, monkeypatch):
    monkeypatch.setattr(job_search, "STRETCH", 3)
    wanted = await world.put(pool="rare")
    for _ in range(4):
        await world.put()
    first = await page(monitor, "/jobs?pool=rare")
    assert "only a stretch of jobs was looked at" in first
    assert rows(first) == []
    older = re.search(r'rel="next" href="([^"]+)"', first)[1].replace("&amp;", "&")
    assert rows(await page(monitor, older)) == [wanted.id]


async def test_dead_letters_are_grouped_and_each_group_can_be_opened(world, monitor):
    for message in ("one", "two " + EVIL):
        await world.fail(await world.put(), message)
    groups = await page(monitor, "/dead-letters")
    Checked(groups)
    assert "&lt;script&gt;" in groups
    assert "Replay" in groups
    listed = await page(monitor, "/dead-letters?fingerprint=f")
    Checked(listed)
    assert "2 jobs, newest first" in listed
    assert "Discard all…" in listed
    assert "None" in await page(monitor, "/dead-letters?fingerprint=other")
    assert "None: no job has failed" in await page(monitor, "/dead-letters?type=other")
    assert "Only of type" in await page(monitor, "/dead-letters?type=noop")


PATHS = ("/", "/jobs", "/pools", "/workers", "/dead-letters", "/recovery", "/about", "/audit")


async def test_every_page_is_sound_on_an_empty_system(monitor):
    for path in PATHS:
        assert Checked(await page(monitor, path)).forbidden == []


async def test_every_page_is_sound_and_shows_what_others_wrote_as_text(world, monitor):
    await world.healthy()
    await world.beat(host=EVIL, pid=9)
    await world.fail(await world.put(pool="crawl"), EVIL)
    await DependencyBreakers(world.database).fail("smtp", job_type="crawl-job", error=EVIL)
    await AuditLog(world.database).write(who="olga", tenant=None, action="discard", filter={"type": EVIL}, count=3)
    for path in (*PATHS, "/pools/crawl", "/pools/crawl?window=week", "/?window=day", "/workers?gone=yes"):
        checked = Checked(await page(monitor, path))
        assert checked.forbidden == [], path
    assert "discard" in await page(monitor, "/audit")
    await page(monitor, "/pools/unknown", 404)
    await page(monitor, "/?window=year", 422)


async def test_what_needs_attention_is_said_with_its_reason(world, monitor):
    await world.pool("mail")
    await world.pool("crawl")
    job = await world.put(created_at=datetime.now(UTC) - timedelta(minutes=10), indexed=False)
    await world.wait_in("mail", job)
    await world.beat()
    pause = {"paused": True, "paused_reason": "moving", "size_limit": 1}
    await world.database.pools.update_one({"_id": "crawl"}, {"$set": pause}, upsert=True)
    await DependencyBreakers(world.database).fail("smtp", job_type="mail-job", error="refused")
    view = await (await monitor.get("/v1/overview")).json()
    texts = [item["text"] for item in view["attention"]]
    for words in (
        "pool mail: 1 waiting and no worker serves it",
        "pool crawl: paused, because: moving",
        "1 stored jobs have not reached Redis",
        "the dependency smtp fails: refused",
        "recovery: none has ever led",
    ):
        assert any(words in text for text in texts), (words, texts)
    assert [item["level"] for item in view["attention"]] == sorted(
        (item["level"] for item in view["attention"]), key=lambda level: level != "down"
    )
    text = await page(monitor, "/")
    assert "paused, because: moving" in text


async def test_a_full_pool_and_a_long_wait_are_pointed_out(world, monitor):
    await world.healthy()
    await world.database.pools.update_one({"_id": "crawl"}, {"$set": {"size_limit": 1}}, upsert=True)
    old = datetime.now(UTC) - timedelta(minutes=10)
    await world.wait_in("crawl", await world.put(created_at=old))
    texts = [item["text"] for item in (await (await monitor.get("/v1/overview")).json())["attention"]]
    assert "pool crawl: at its limit of 1; new jobs are refused" in texts
    assert "pool crawl: the oldest job waits for 10 minutes" in texts


@pytest.mark.parametrize("base", ["", "/jobs/monitor"])
async def test_links_of_all_pages_lead_to_pages_of_ours(world, serve, base):
    monitor = await serve(world.config.model_copy(update={"http_base_path": base}))
    await world.healthy()
    await world.fail(await world.put(pool="crawl"), "boom")
    seen: set[str] = set()
    todo = [f"{base}/"]
    while todo:
        path = todo.pop()
        if path in seen or len(seen) > 60:
            continue
        seen.add(path)
        answer = await monitor.get(path, headers={"Accept": "text/html"})
        assert answer.status in {200, 503}, path  # 503: what the scheduler of this test cannot do
        if answer.content_type == "text/html" and not path.endswith("/docs"):
            todo += [link for link in Checked(await answer.text()).links if not link.startswith("#")]
    assert len(seen) > 20
    assert all(path.startswith(f"{base}/") for path in seen)
