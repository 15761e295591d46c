"""Lists, single jobs, pages and job types."""

from __future__ import annotations

import base64

import pytest

from headrace.runtime.process.ids import new_job_id
from headrace.runtime.store.crawl_results import CrawlResults, StoredPage
from headrace.runtime.store.incarnations import Incarnations
from headrace.scheduler.routes import ROUTES


async def _ids(api, query="", **headers):
    return [job["id"] for job in (await api.get(f"/v1/jobs{query}", **headers))["jobs"]]


async def test_a_list_goes_from_the_newest_and_shows_no_payload(api):
    jobs = [await api.submit(payload={"n": n}) for n in range(3)]
    found = await api.get("/v1/jobs")
    assert [job["id"] for job in found["jobs"]] == [job["id"] for job in reversed(jobs)]
    assert found["next_cursor"] is None
    assert found["jobs"][0] == {name: jobs[2][name] for name in jobs[2] if name not in {"payload", "result"}}


async def test_every_filter_holds_alone_and_together(api):
    one = await api.submit(tags={"team": "search", "a.b": "x:y"}, priority="high")
    two = await api.submit(type="echo", tags={"team": "ads"}, priority="low")
    three = await api.submit()
    await api.cancel(three["id"])
    for query, expected in {
        "?state=queued": [two, one],
        "?state=cancelled": [three],
        "?type=echo": [two],
        "?pool=default": [three, one],
        "?priority=high": [one],
        "?tag=team:search": [one],
        "?tag=a.b:x:y": [one],
        "?tag=team:": [],
        "?tag=team:search&priority=low": [],
        f"?created_after={one['created_at']}": [three, two],
        f"?created_before={three['created_at']}": [two, one],
        "?created_after=2030-01-01T00:00:00%2B01:00": [],
        "?type=nobody": [],
    }.items():
        assert await _ids(api, query) == [job["id"] for job in expected], query


async def test_the_cursor_walks_through_everything_once(api):
    ids = [(await api.submit())["id"] for _ in range(7)]
    walked, cursor = [], ""
    while cursor is not None:
        page = await api.get(f"/v1/jobs?limit=3{cursor and '&cursor=' + cursor}")
        walked += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        await api.submit()  # newer jobs do not disturb the walk
    assert walked == list(reversed(ids))


BAD_QUERIES = [
    "?state=done",
    "?state=queued,failed",
    "?state=queued&state=failed",
    "?limit=0",
    "?limit=201",
    "?limit=x",
    "?limit=1e400",
    "?cursor=",
    "?cursor=%00",
    "?cursor=!!!",
    "?cursor=" + base64.urlsafe_b64encode(b"x" * 36).decode(),
    "?cursor=" + "A" * 1000,
    "?tag=novalue",
    "?tag=$where:x",
    "?type=",
    "?type[$ne]=x",
    "?pool=UPPER",
    "?priority=1",
    "?created_after=0",
    "?created_after=yesterday",
    "?created_before=0001-01-01T00:00:00%2B14:00",
    "?colour=blue",
]


async def test_a_query_that_is_not_understood_is_refused(api, subtests):
    for query in BAD_QUERIES:
        with subtests.test(query[:40]):
            problem = await api.problem(await api.client.get(f"/v1/jobs{query}"), 422, "validation")
            assert problem["errors"][0]["in"] == "query"


async def test_an_id_that_names_no_job_is_not_found(api):
    for job_id in (new_job_id(), "x", "%24ne", "a" * 36, new_job_id().upper()):
        for rest in ("", "/history", "/pages"):
            await api.problem(await api.client.get(f"/v1/jobs/{job_id}{rest}"), 404, "not-found")


async def test_the_pages_of_a_crawl_come_in_stretches(api):
    job = await api.submit()
    pages = [StoredPage(url=f"http://site.test/{n}", state="ok", depth=1, status=200, bytes=n) for n in range(5)]
    await CrawlResults(api.database.handle).save(job["id"], 1, pages)
    walked, cursor = [], ""
    while cursor is not None:
        found = await api.get(f"/v1/jobs/{job['id']}/pages?limit=2{cursor and '&cursor=' + cursor}")
        walked += found["pages"]
        cursor = found["next_cursor"]
    assert sorted(page["url"] for page in walked) == [page.url for page in pages]
    assert set(walked[0]) == {"url", "final_url", "state", "status", "depth", "title", "bytes", "error"}
    other = await api.submit()
    assert await api.get(f"/v1/jobs/{other['id']}/pages") == {"pages": [], "next_cursor": None}
    await api.problem(await api.client.get(f"/v1/jobs/{job['id']}/pages?cursor=zz"), 422, "validation")


async def test_job_types_are_listed_with_their_schema_and_their_workers(api):
    incarnations = Incarnations(api.database)
    for n, types in enumerate((["echo"], ["echo", "any"])):
        await incarnations.register(
            f"w-{n}", service="s", host="h", pool="cpu", types=types, slots=1, version="0", lease_seconds=60
        )
    found = {item["type"]: item for item in (await api.get("/v1/job-types"))["types"]}
    assert found["any"] == {
        "type": "any",
        "pool": "default",
        "payload_schema": {},
        "timeout_seconds": api.config.timeout_seconds,
        "max_retries": api.config.max_retries,
        "contract_version": 1,
        "workers": 1,
    }
    assert (found["echo"]["timeout_seconds"], found["echo"]["max_retries"], found["echo"]["workers"]) == (60, 2, 2)
    assert found["echo"]["payload_schema"]["additionalProperties"] is False


async def test_the_document_shows_every_route(api):
    document = await api.get("/openapi.json")
    assert document["openapi"].startswith("3.1")
    probes = {"/healthz", "/readyz", "/metrics"}
    assert set(document["paths"]) == {route.path for route in ROUTES} | probes
    assert {"/v1/jobs", "/v1/jobs/{id}/events", "/v1/events", "/v1/jobs/{id}/why"} <= set(document["paths"])


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_are_well_when_the_stores_are(api, path):
    assert (await api.client.get(path)).status == 200
