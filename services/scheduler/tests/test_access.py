"""Tokens: which scope opens which route, and that tenants do not see each other."""

from __future__ import annotations

import pytest

from headrace.runtime.process.ids import new_job_id
from headrace.runtime.store.breakers import DependencyBreakers
from headrace.scheduler.routes import ROUTES


@pytest.fixture
async def api(make_api, config, tokens_file):
    return await make_api(config.model_copy(update={"api_tokens_file": tokens_file}))


def _path(route):
    return route.path.replace("{id}", new_job_id()).replace("{name}", "default")


async def test_every_route_needs_a_token(api, subtests):
    for route in ROUTES:
        with subtests.test(f"{route.method} {route.path}"):
            response = await api.client.request(route.method, _path(route))
            assert response.headers["WWW-Authenticate"] == "Bearer"
            await api.problem(response, 401, "unauthorized")
            wrong = {"Authorization": "Bearer nobody-secret"}
            await api.problem(await api.client.request(route.method, _path(route), headers=wrong), 401, "unauthorized")


MAY = {
    ("POST", "/v1/jobs"): {"submitter", "other-submitter", "admin", "red", "blue"},
    ("POST", "/v1/jobs/{id}/cancel"): {"submitter", "other-submitter", "operator", "admin", "red", "blue"},
}
MAY["POST", "/v1/jobs/batch"] = MAY["POST", "/v1/jobs"]
OPERATORS = {"operator", "admin", "red", "blue"}
for _path_of in ("/v1/jobs/{id}/replay", "/v1/dead-letters/replay", "/v1/dead-letters/discard"):
    MAY["POST", _path_of] = OPERATORS
# A pool is everybody's, so no tenant may change it.
for _method, _rest in (("POST", "/pause"), ("POST", "/resume"), ("PATCH", "")):
    MAY[_method, "/v1/pools/{name}" + _rest] = OPERATORS - {"red", "blue"}
MAY["POST", "/v1/breakers/{name}/reset"] = OPERATORS - {"red", "blue"}
MAY["GET", "/v1/audit"] = {"admin"}
READERS = {"reader", "operator", "admin", "red", "blue"}
EVERYBODY = READERS | {"submitter", "other-submitter"}


async def test_every_route_needs_its_scope(api, subtests):
    for route in ROUTES:
        allowed = MAY.get((route.method, route.path), READERS)
        for name in sorted(EVERYBODY):
            with subtests.test(f"{route.method} {route.path} {name}"):
                response = await api.client.request(route.method, _path(route), headers=api.bearer(name))
                assert (response.status == 403) == (name not in allowed)


async def test_a_tenant_sees_only_its_own_jobs(api):
    ids = {}
    for name in ("red", "blue", "submitter"):
        response = await api.post({"type": "any", "payload": {"of": name}}, **api.bearer(name))
        ids[name] = (await response.json())["id"]
    for name, other in (("red", "blue"), ("blue", "red"), ("red", "submitter")):
        for rest in ("", "/history", "/pages", "/logs"):
            path = f"/v1/jobs/{ids[other]}{rest}"
            hidden = await api.problem(await api.client.get(path, headers=api.bearer(name)), 404, "not-found")
            unknown = f"/v1/jobs/{new_job_id()}{rest}"
            assert hidden == await api.problem(
                await api.client.get(unknown, headers=api.bearer(name)), 404, "not-found"
            )
        await api.problem(await api.cancel(ids[other], **api.bearer(name)), 404, "not-found")
        listed = await api.get("/v1/jobs", **api.bearer(name))
        assert [job["id"] for job in listed["jobs"]] == [ids[name]]
    everything = await api.get("/v1/jobs", **api.bearer("admin"))
    assert {job["id"] for job in everything["jobs"]} == set(ids.values())
    assert (await api.cancel(ids["red"], **api.bearer("red"))).status == 200
    assert (await api.get(f"/v1/jobs/{ids['blue']}", **api.bearer("operator")))["state"] == "queued"


async def test_the_probes_are_open(api):
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await api.client.get(path)).status == 200


async def test_a_tenant_does_not_read_in_a_breaker_what_other_tenants_jobs_met(api):
    await DependencyBreakers(api.database).fail("mail", job_type="any", error="no box of somebody")
    for name, words in (("reader", "no box of somebody"), ("red", "")):
        (found,) = (await api.get("/v1/breakers", **api.bearer(name)))["breakers"]
        assert (found["name"], found["error"]) == ("mail", words)


async def test_a_tenant_is_not_told_which_hosts_others_crawl(api):
    await DependencyBreakers(api.database).fail("host:inner.example", job_type="any", error="timeout")
    assert (await api.get("/v1/breakers", **api.bearer("red"))) == {"breakers": []}
    assert len((await api.get("/v1/breakers", **api.bearer("reader")))["breakers"]) == 1
