from __future__ import annotations

import re

from monitor_pages import EVIL, Checked, page


async def test_the_page_shows_parts_jobs_pools_workers_and_lists(world, monitor):
    await world.healthy()
    failed, running = [await world.put(pool="crawl") for _ in range(2)]
    await world.fail(failed, "the server said no")
    claimed = await world.run(running)
    await world.jobs.save_progress(
        claimed.id, claimed.attempt, "w-1", fraction=0.42, message="210 of 500 pages", started_ms_ago=10
    )
    text = await page(monitor, "/")
    Checked(text)
    for words in ("mongodb", "recovery-1 leads", "host-a", "crawl", "the server said no", "210 of 500 pages", "42 %"):
        assert words in text
    assert failed.id in text
    assert running.id in text


async def test_an_empty_system_has_a_page_too(monitor):
    text = await page(monitor, "/")
    Checked(text)
    for words in ("No pool yet", "no worker lives", "Nothing runs", "No job has failed"):
        assert words in text


async def test_what_jobs_and_workers_say_is_text_and_never_markup(world, monitor):
    await world.healthy()
    await world.beat(host=EVIL, pool="crawl")
    await world.fail(await world.put(), EVIL)
    running = await world.run(await world.put())
    await world.jobs.save_progress(running.id, running.attempt, "w-1", fraction=0.5, message=EVIL, started_ms_ago=10)
    pause = {"paused": True, "paused_reason": EVIL}
    await world.database.pools.update_one({"_id": "crawl"}, {"$set": pause}, upsert=True)
    text = await page(monitor, "/")
    assert Checked(text).forbidden == []
    assert text.count("&lt;script&gt;") >= 4


async def test_the_policy_forbids_everything_that_is_not_ours(monitor):
    headers = (await monitor.get("/")).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src 'self';" in policy
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_the_style_sheet_and_the_icon_may_be_kept_for_ever(monitor):
    for link in Checked(await page(monitor, "/")).links:
        if link.startswith("/static/"):
            answer = await monitor.get(link)
            assert answer.headers["Cache-Control"].endswith("immutable")
            assert answer.content_type in {"text/css", "image/svg+xml", "text/javascript"}
            assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg", "", await answer.text())
