from __future__ import annotations

import pytest
from monitor_pages import form_token, origin_of, sign_in

from headrace.runtime.store.breakers import DependencyBreakers
from headrace.runtime.web.auth import hash_token

TENANT = 'tenant = "acme"'


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens.toml"
    tables = (("rita", '["read"]', ""), ("olga", '["read", "operate"]', ""), ("anna", '["admin"]', ""))
    tables += (("acme", '["read", "submit"]', TENANT),)
    path.write_text("\n".join(f'[{n}]\nhash = "{hash_token(n)}"\nscopes = {s}\n{rest}' for n, s, rest in tables))
    return path


@pytest.fixture
async def guarded(world, serve, tokens):
    return await serve(world.config.model_copy(update={"api_tokens_file": tokens}))


async def act(client, path: str, *fields: tuple[str, str], page: str = "/jobs"):
    data = [("form_token", await form_token(client, page)), *fields]
    return await client.post(
        path, data=data, headers={**origin_of(client), "Accept": "text/html"}, allow_redirects=False
    )


async def test_a_cancel_asks_first_and_is_done_by_the_scheduler_under_the_visitors_token(world, guarded, scheduler):
    job = await world.put()
    await sign_in(guarded, "olga")
    asked = await (await guarded.get(f"/jobs/{job.id}/cancel")).text()
    assert "Cancel this job?" in asked
    assert scheduler.calls == []
    scheduler.answers["/cancel"] = {"state": "cancelled"}
    answer = await act(guarded, f"/jobs/{job.id}/cancel")
    assert (answer.status, answer.headers["Location"]) == (303, f"/jobs/{job.id}?done=cancelled")
    assert scheduler.calls == [("POST", f"/v1/jobs/{job.id}/cancel", None, "Bearer olga")]
    assert "The job is cancelled." in await (await guarded.get(answer.headers["Location"])).text()
    scheduler.answers["/cancel"] = (202, {"state": "processing"})
    assert "done=cancelling" in (await act(guarded, f"/jobs/{job.id}/cancel")).headers["Location"]


async def test_what_the_scheduler_refuses_is_shown_in_its_words(world, guarded, scheduler):
    job = await world.put()
    await sign_in(guarded, "rita")
    problem = {"type": "/problems/forbidden", "title": "No", "status": 403, "detail": "the token lacks operate <b>"}
    scheduler.answers["/cancel"] = (403, problem)
    answer = await act(guarded, f"/jobs/{job.id}/cancel")
    text = await answer.text()
    assert answer.status == 403
    assert "the token lacks operate &lt;b&gt;" in text
    assert "Cancel…" not in await (await guarded.get(f"/jobs/{job.id}")).text()


async def test_a_replay_leads_to_the_new_job_and_a_discard_back_to_the_old(world, guarded, scheduler):
    job = await world.put()
    await world.fail(job, "boom")
    await sign_in(guarded, "olga")
    scheduler.answers["/replay"] = (201, {"id": "new-id"})
    assert (await act(guarded, f"/jobs/{job.id}/replay")).headers["Location"] == "/jobs/new-id?done=replayed"
    scheduler.answers["/discard"] = {"matched": 1, "done": 1, "refused": []}
    assert (await act(guarded, f"/jobs/{job.id}/discard")).headers["Location"] == f"/jobs/{job.id}?done=discarded"
    assert scheduler.calls[-1][2] == {"filter": {"ids": [job.id]}, "limit": 1}
    scheduler.answers["/discard"] = {"matched": 0, "done": 0, "refused": []}
    assert (await act(guarded, f"/jobs/{job.id}/discard")).status == 422
    assert (await act(guarded, f"/jobs/{job.id}/explode")).status == 404


async def test_dead_letters_are_counted_before_they_are_replayed(world, guarded, scheduler):
    await sign_in(guarded, "olga")
    scheduler.answers["/replay"] = {"matched": 7, "done": 0, "refused": [{"id": "01", "code": "invalid-payload"}]}
    asked = await (await guarded.get("/dead-letters/replay?fingerprint=f1&type=mail")).text()
    assert "Replay 7 dead letters?" in asked
    assert "invalid-payload" in asked
    assert scheduler.calls[-1][2] == {"filter": {"type": "mail", "fingerprint": "f1"}, "limit": 10_000, "dry_run": True}
    scheduler.answers["/replay"] = {"matched": 7, "done": 6, "refused": [{"id": "01", "code": "x"}]}
    answer = await act(guarded, "/dead-letters/replay", ("sure", "yes"), ("fingerprint", "f1"))
    assert answer.headers["Location"] == "/dead-letters?done=replayed&count=6&refused=1"
    assert scheduler.calls[-1][2] == {"filter": {"fingerprint": "f1"}, "limit": 10_000}
    told = await (await guarded.get(answer.headers["Location"])).text()
    assert "6 jobs replayed." in told
    assert "1 job could not be." in told


async def test_nothing_ticked_is_not_everything(world, guarded, scheduler):
    await sign_in(guarded, "olga")
    for fields in ([("ticked", "yes"), ("sure", "yes")], [("ticked", "yes")], []):
        assert (await act(guarded, "/dead-letters/discard", *fields)).status == 422
    assert scheduler.calls == []


async def test_ticked_dead_letters_are_asked_about_and_then_sent_by_id(world, guarded, scheduler):
    await sign_in(guarded, "olga")
    job = await world.put()
    ids = [("id", job.id), ("id", "no-id-at-all")]
    asked = await (await act(guarded, "/dead-letters/discard", ("ticked", "yes"), *ids)).text()
    assert "Discard 1 job?" in asked
    scheduler.answers["/discard"] = {"matched": 1, "done": 1, "refused": []}
    await act(guarded, "/dead-letters/discard", ("ticked", "yes"), ("sure", "yes"), *ids)
    assert scheduler.calls[-1][2] == {"filter": {"ids": [job.id]}, "limit": 10_000}


async def test_ticked_jobs_are_cancelled_one_by_one_and_what_is_refused_is_listed(world, guarded, scheduler):
    await sign_in(guarded, "olga")
    one, two = await world.put(), await world.put()
    ids = [("id", one.id), ("id", two.id)]
    assert "Cancel 2 jobs?" in await (await act(guarded, "/selected/cancel", *ids)).text()
    scheduler.answers[f"{one.id}/cancel"] = {"state": "cancelled"}
    over = {"type": "/problems/already-terminal", "title": "Over", "status": 409, "detail": "the job is completed"}
    scheduler.answers[f"{two.id}/cancel"] = (409, over)
    text = await (await act(guarded, "/selected/cancel", ("sure", "yes"), *ids)).text()
    assert "1 job cancelled" in text
    assert "the job is completed" in text
    scheduler.answers[f"{one.id}/cancel"] = (403, {"type": "/problems/forbidden", "detail": "not allowed"})
    assert (await act(guarded, "/selected/cancel", ("sure", "yes"), *ids)).status == 403
    assert (await act(guarded, "/selected/cancel")).status == 422


async def test_a_pool_is_paused_with_a_reason_and_resumed(world, guarded, scheduler):
    await world.pool("crawl")
    await sign_in(guarded, "olga")
    assert "Pause the pool crawl?" in await (await guarded.get("/pools/crawl/pause")).text()
    answer = await act(guarded, "/pools/crawl/pause", ("reason", " moving "))
    assert (answer.status, answer.headers["Location"]) == (303, "/pools/crawl?done=paused")
    assert "The pool is paused" in await (await guarded.get(answer.headers["Location"])).text()
    assert scheduler.calls[-1][:3] == ("POST", "/v1/pools/crawl/pause", {"reason": "moving"})
    await act(guarded, "/pools/crawl/resume")
    assert scheduler.calls[-1][:3] == ("POST", "/v1/pools/crawl/resume", None)
    assert (await act(guarded, "/pools/crawl/purge")).status == 404


async def test_what_was_done_is_seen_on_the_next_page_whatever_was_read_a_moment_ago(world, guarded):
    await world.pool("crawl")
    await sign_in(guarded, "olga")
    assert 'class="status paused"' not in await (await guarded.get("/pools/crawl")).text()
    await world.database.pools.update_one({"_id": "crawl"}, {"$set": {"paused": True}}, upsert=True)
    answer = await act(guarded, "/pools/crawl/pause")
    assert 'class="status paused"' in await (await guarded.get(answer.headers["Location"])).text()


async def test_a_paused_pool_says_what_still_runs_until_it_is_drained(world, monitor):
    await world.pool("crawl")
    await world.database.pools.update_one({"_id": "crawl"}, {"$set": {"paused": True}}, upsert=True)
    await world.wait_in("crawl", await world.put())
    await world.queue.claim("crawl", token="c", count=1)
    assert "1 still runs" in await (await monitor.get("/pools/crawl")).text()


async def test_only_the_sizes_that_were_changed_are_set_and_empty_ones_go_back_to_the_default(
    world, guarded, scheduler
):
    await world.pool("crawl")
    await world.database.pools.update_one({"_id": "crawl"}, {"$set": {"min_slots": 2, "size_limit": 50}}, upsert=True)
    await sign_in(guarded, "olga")
    asked = await (await guarded.get("/pools/crawl/sizes")).text()
    for part in ('name="was_min_slots" value="2"', 'name="was_size_limit" value="50"', 'name="was_max_slots" value=""'):
        assert part in asked
    was = [("was_min_slots", "2"), ("was_max_slots", ""), ("was_size_limit", "50")]
    now = [("min_slots", "2"), ("max_slots", " 8 "), ("size_limit", "")]
    answer = await act(guarded, "/pools/crawl/sizes", *was, *now)
    assert (answer.status, answer.headers["Location"]) == (303, "/pools/crawl?done=sized")
    assert scheduler.calls == [("PATCH", "/v1/pools/crawl", {"max_slots": 8, "size_limit": None}, "Bearer olga")]
    same = await act(guarded, "/pools/crawl/sizes", *was, ("min_slots", "2"))
    assert same.headers["Location"] == "/pools/crawl?done=same"
    for wrong in ("-1", "1.5", "ten", "٣", "9" * 11):
        refusal = await act(guarded, "/pools/crawl/sizes", ("max_slots", wrong))
        assert refusal.status == 422
        assert "must be a whole number" in await refusal.text()
    assert len(scheduler.calls) == 1
    problem = {"type": "/problems/validation", "title": "No", "errors": [{"in": "body", "pointer": "/max_slots",
               "code": "slots_crossed", "detail": "min_slots may not be more than max_slots"}]}  # fmt: skip
    scheduler.answers["/crawl"] = (422, problem)
    refusal = await act(guarded, "/pools/crawl/sizes", ("max_slots", "1"))
    assert "min_slots may not be more than max_slots" in await refusal.text()


async def test_a_dependency_that_fails_is_tried_again_after_a_question(world, guarded, scheduler):
    await sign_in(guarded, "olga")
    assert (await guarded.get("/breakers/host:a.example/reset")).status == 404
    breakers = DependencyBreakers(world.database)
    await breakers.fail("host:a.example", error="refused", job_type="crawl")
    asked = await (await guarded.get("/breakers/host:a.example/reset")).text()
    assert "Try host:a.example again?" in asked
    assert 'href="/breakers/host:a.example/reset"' in await (await guarded.get("/recovery")).text()
    answer = await act(guarded, "/breakers/host:a.example/reset")
    assert answer.headers["Location"] == "/recovery?done=reset"
    assert scheduler.calls[-1][:2] == ("POST", "/v1/breakers/host:a.example/reset")
    assert "Its breaker is closed" in await (await guarded.get(answer.headers["Location"])).text()


async def test_readers_reach_no_form_of_operators(world, guarded, scheduler):
    await sign_in(guarded, "rita")
    pools = ("/pools/crawl/pause", "/pools/crawl/sizes", "/breakers/s/reset")
    for path in ("/selected/cancel", "/dead-letters/replay", *pools):
        assert (await act(guarded, path, ("sure", "yes"))).status == 403
    for path in pools:
        assert (await guarded.get(path)).status == 403
    assert (await guarded.get("/audit")).status == 403
    assert scheduler.calls == []


async def test_a_read_only_monitor_changes_nothing_whoever_asks(world, serve, scheduler, tokens):
    client = await serve(world.config.model_copy(update={"api_tokens_file": tokens, "read_only": True}))
    job = await world.put()
    await world.fail(job, "boom")
    await sign_in(client, "anna")
    scheduler.answers["/replay"] = {"matched": 1, "done": 0, "refused": []}
    changes = ("/selected/cancel", "/dead-letters/discard", "/pools/crawl/pause", "/pools/crawl/sizes")
    for path in (f"/jobs/{job.id}/cancel", *changes, "/breakers/s/reset"):
        assert (await act(client, path, ("sure", "yes"))).status == 403
    bearer = {"Authorization": "Bearer anna"}
    assert (await client.post(f"/jobs/{job.id}/replay", data={"a": "b"}, headers=bearer)).status == 403
    assert scheduler.calls == []
    for path in ("/jobs", f"/jobs/{job.id}", "/dead-letters", "/pools"):
        text = await (await client.get(path)).text()
        assert "read-only" in text
        assert "…</a>" not in text.replace(job.id[:8] + "…", "")
    for path in (f"/jobs/{job.id}/replay", "/dead-letters/replay", "/pools/crawl/pause", "/pools/crawl/sizes"):
        assert "read-only" in await (await client.get(path)).text()


async def test_a_bearer_token_needs_no_form_token(world, guarded, scheduler):
    job = await world.put()
    scheduler.answers["/cancel"] = {"state": "cancelled"}
    headers = {"Authorization": "Bearer olga"}
    answer = await guarded.post(f"/jobs/{job.id}/cancel", data={"a": "b"}, headers=headers, allow_redirects=False)
    assert answer.status == 303
    assert scheduler.calls[-1][3] == "Bearer olga"


async def test_a_scheduler_that_is_away_or_strange_is_said_to_be(world, guarded, serve, scheduler, tokens):
    job = await world.put()
    await sign_in(guarded, "olga")
    scheduler.answers["/cancel"] = ["no", "object"]
    assert (await act(guarded, f"/jobs/{job.id}/cancel")).status == 503
    away = await serve(
        world.config.model_copy(update={"api_tokens_file": tokens, "scheduler_url": "http://127.0.0.1:9"})
    )
    await sign_in(away, "olga")
    answer = await act(away, f"/jobs/{job.id}/cancel")
    assert answer.status == 503
    assert "the scheduler does not answer" in await answer.text()


async def test_a_tenant_sees_its_jobs_and_nothing_of_others(world, guarded):
    theirs = await world.put(tenant="other")
    mine = await world.put(tenant="acme", submitted_by="acme")
    await sign_in(guarded, "acme")
    answer = await guarded.get("/", headers={"Accept": "text/html"})
    text = await answer.text()
    assert answer.url.path == "/jobs"
    assert mine.id in text
    assert theirs.id not in text
    assert (await guarded.get(f"/jobs/{theirs.id}")).status == 404
    assert (await guarded.get(f"/jobs?q={theirs.id[:30]}")).status == 200
    assert theirs.id not in await (await guarded.get(f"/jobs?q={theirs.id[:30]}")).text()
    assert (await guarded.get(f"/live?topics=job:{theirs.id}")).status == 404
    assert (await guarded.get("/live?topics=every:2")).status == 403
    assert "Cancel…" in await (await guarded.get(f"/jobs/{mine.id}")).text()
