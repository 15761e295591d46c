"""Breakers of dependencies over HTTP."""

from __future__ import annotations

from headrace.runtime.store.breakers import DependencyBreakers


async def test_open_breakers_are_listed_explain_jobs_and_are_reset_by_hand_once(api):
    job = await api.submit()
    assert await api.get("/v1/breakers") == {"breakers": []}
    await DependencyBreakers(api.database).fail("mail/one", job_type=job["type"], error="refused")
    (found,) = (await api.get("/v1/breakers"))["breakers"]
    assert (found["name"], found["state"], found["types"], found["error"]) == ("mail/one", "open", ["any"], "refused")
    codes = {item["code"]: item["detail"] for item in (await api.get(f"/v1/jobs/{job['id']}/why"))["reasons"]}
    assert "mail/one" in codes["dependency-open"]
    other = await api.submit(type="echo")
    why = await api.get(f"/v1/jobs/{other['id']}/why")
    assert "dependency-open" not in {item["code"] for item in why["reasons"]}

    path = "/v1/breakers/mail%2Fone/reset"
    response = await api.client.post(path)
    assert (response.status, await response.json()) == (200, {"name": "mail/one"})
    await api.problem(await api.client.post(path), 404, "not-found")
    assert await api.get("/v1/breakers") == {"breakers": []}
    (entry,) = (await api.get("/v1/audit"))["entries"]
    assert (entry["what"], entry["target"]) == ("reset", "mail/one")


async def test_a_host_that_is_down_explains_the_crawls_that_name_it_and_no_others(api):
    breakers = DependencyBreakers(api.database)
    here = await api.submit(payload={"start_urls": ["http://here.example:8080/"]})
    there = await api.submit(payload={"start_urls": ["http://there.example/"]})
    await breakers.fail("host:here.example:8080", job_type="any", error="connection")
    told = []
    for job in (here, there):
        why = await api.get(f"/v1/jobs/{job['id']}/why")
        told.append([item["detail"] for item in why["reasons"] if item["code"] == "dependency-open"])
    assert told == [["host:here.example:8080 does not answer; its breaker is open"], []]
    assert [found["name"] for found in (await api.get("/v1/breakers"))["breakers"]] == ["host:here.example:8080"]
