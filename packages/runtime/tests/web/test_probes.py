from __future__ import annotations

import asyncio

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.process.lifecycle import STOPPING
from headrace.runtime.web import probes
from headrace.runtime.web.metrics import BEFORE_SCRAPE, REGISTRY, BreakerCollector
from headrace.runtime.web.probes import CheckResult, Readiness


async def good() -> CheckResult:
    return CheckResult(ok=True, detail="primary answers", breaker="closed")


async def bad() -> CheckResult:
    raise StoreUnavailableError("redis does not answer")


async def broken() -> CheckResult:
    raise RuntimeError("redis://user:pw@host")


async def hanging() -> CheckResult:
    await asyncio.Event().wait()
    raise AssertionError


async def test_healthz_asks_nobody(serve):
    client = await serve(checks={"store": broken})
    assert await (await client.get("/healthz")).json() == {"status": "ok"}


async def test_readyz_tells_each_check(serve):
    client = await serve(checks={"mongodb": good})
    answer = await client.get("/readyz")
    assert answer.status == 200
    assert await answer.json() == {
        "status": "ready",
        "checks": {"mongodb": {"ok": True, "detail": "primary answers", "breaker": "closed"}},
    }


async def test_one_check_that_fails_makes_it_not_ready_and_leaks_nothing(serve, monkeypatch):
    monkeypatch.setattr(probes, "CHECK_SECONDS", 0.05)
    client = await serve(checks={"a": good, "b": bad, "c": broken, "d": hanging})
    answer = await client.get("/readyz")
    body = await answer.json()
    assert (answer.status, body["status"]) == (503, "not-ready")
    assert {name: check["detail"] for name, check in body["checks"].items()} == {
        "a": "primary answers",
        "b": "redis does not answer",
        "c": "RuntimeError",
        "d": "no answer within 0.05 s",
    }


async def test_what_is_optional_is_told_but_does_not_stop_the_work(serve, monkeypatch):
    monkeypatch.setattr(probes, "CHECK_SECONDS", 0.05)
    client = await serve(checks={"a": good, "b": bad, "d": hanging}, optional=["b", "d"])
    answer = await client.get("/readyz")
    body = await answer.json()
    assert (answer.status, body["status"]) == (200, "ready")
    assert [check["ok"] for check in body["checks"].values()] == [True, False, False]


async def test_checks_run_once_a_second_however_often_they_are_asked():
    runs, now = [], [0.0]

    async def counted() -> CheckResult:
        runs.append(1)
        await asyncio.sleep(0)
        return CheckResult(ok=True)

    readiness = Readiness({"x": counted}, clock=lambda: now[0])
    await asyncio.gather(*(readiness.results() for _ in range(5)))
    assert len(runs) == 1
    now[0] = 1.0
    await readiness.results()
    assert len(runs) == 2


async def test_readyz_is_draining_as_soon_as_the_end_begins(serve):
    client = await serve(checks={"a": good})
    client.app[STOPPING].set()
    answer = await client.get("/readyz")
    assert (answer.status, await answer.json()) == (503, {"status": "draining", "checks": {}})


async def test_metrics_come_in_the_format_that_is_asked_for(serve):
    client = await serve()
    await client.get("/nothing/42")
    plain = await client.get("/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain; version=")
    text = await plain.text()
    assert 'job_build_info{service="sample"' in text
    assert 'job_http_requests_total{method="GET",route="unmatched",status="404"} 1.0' in text
    assert "process_resident_memory_bytes" in text
    modern = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert modern.headers["Content-Type"].startswith("application/openmetrics-text")


async def test_unknown_methods_and_paths_make_no_new_series(serve):
    client = await serve()
    await client.request("PROPFIND", "/healthz")
    text = await (await client.get("/metrics")).text()
    assert 'method="other",route="unmatched",status="405"' in text


async def test_a_source_that_fails_costs_its_gauges_only(serve):
    ran = []

    async def failing() -> None:
        raise StoreUnavailableError

    async def working() -> None:
        ran.append(True)

    client = await serve(prepare=lambda app: app[BEFORE_SCRAPE].extend([failing, working]))
    assert (await client.get("/metrics")).status == 200
    assert ran == [True]


async def test_breakers_show_in_the_metrics(serve):
    breaker = Breaker("redis")
    client = await serve(prepare=lambda app: app[REGISTRY].register(BreakerCollector([breaker])))
    text = await (await client.get("/metrics")).text()
    assert 'job_breaker_open{breaker="redis"} 0.0' in text
    assert 'job_breaker_opened_total{breaker="redis"} 0.0' in text


async def test_the_base_path_is_in_front_of_everything_and_the_probes_answer_without_it_too(serve):
    client = await serve(http_base_path="/jobs")
    for path in ("/jobs/healthz", "/healthz", "/jobs/openapi.json"):
        assert (await client.get(path)).status == 200
    assert (await client.get("/openapi.json")).status == 404
