"""The composed system as a newcomer starts it: one command, a token, a crawl; and what its containers may not do."""

from __future__ import annotations

import json

import aiohttp
import pytest

from headrace.client import Client
from headrace.contracts.states import is_legal
from headrace.local.demo_site import make_content
from headrace.testing.eventually import eventually

from .composed import SERVICES, SITE_URL, STORES, Stack
from .engine import docker

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


async def test_a_crawl_of_a_site_container_completes(stack: Stack) -> None:
    async with stack.client() as client:
        job = await client.submit("crawl", {"start_urls": [SITE_URL], "max_pages": 1000})
        job = await client.wait(job.id, timeout=120)
        assert job.state == "completed", f"{job.error}\n{stack.explain()}"
        assert await stored(client, job.id) == set(make_content().pages)
        assert isinstance(job.result, dict)
        assert job.result["pages"] == len(make_content().pages)


async def test_a_worker_container_killed_in_the_middle_of_a_crawl_costs_no_page(stack: Stack) -> None:
    async with stack.client() as client:
        job = await client.submit("crawl", {"start_urls": [SITE_URL], "max_pages": 1000, "delay_seconds": 0.04})

        async def has_pages() -> bool:
            return len(await stored(client, job.id)) >= 20

        await eventually(has_pages, within=60, every=0.2)
        stack.compose("kill", "worker")
        stack.compose("start", "worker")
        job = await client.wait(job.id, timeout=180)
        assert job.state == "completed", f"{job.error}\n{stack.explain()}"
        assert job.attempt >= 2
        assert await stored(client, job.id) == set(make_content().pages)
        steps = (await client.history(job.id)).transitions
        assert [step.seq for step in steps] == list(range(len(steps)))
        assert all(is_legal(step.from_, step.to) for step in steps)
        assert [step.to.is_terminal for step in steps].count(True) == 1


async def test_without_the_token_nothing_but_the_probes_answers(stack: Stack) -> None:
    closed = (stack.url("scheduler", 8080) + "/v1/jobs", stack.url("monitor", 8081) + "/v1/overview")
    async with aiohttp.ClientSession() as session:
        for url in closed:
            for headers in ({}, {"Authorization": "Bearer wrong"}):
                async with session.get(url, headers=headers) as answer:
                    assert answer.status == 401, url
                    assert answer.headers["WWW-Authenticate"] == "Bearer"
            async with session.get(url, headers={"Authorization": f"Bearer {stack.token()}"}) as answer:
                assert answer.status == 200, url
        for service, port in zip(SERVICES, (8080, 8082, 8083, 8081), strict=True):
            async with session.get(stack.url(service, port) + "/readyz") as answer:
                assert answer.status == 200, await answer.text()


@pytest.mark.parametrize("service", [*SERVICES, *STORES, "init", "site"])
def test_a_container_is_no_root_and_can_change_nothing_of_itself(stack: Stack, service: str) -> None:
    found = stack.inspect(service)
    host = found["HostConfig"]
    assert found["Config"]["User"].split(":")[0] not in {"", "0", "root"}
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["PidsLimit"] > 0
    assert not any("docker.sock" in mount["Source"] for mount in found["Mounts"])
    if service != "init":
        processes = [line.split()[1] for line in docker("top", found["Id"], "-eo", "pid,uid").splitlines()[1:]]
        assert processes
        assert "0" not in processes


def test_the_services_are_published_on_loopback_and_the_stores_nowhere(stack: Stack) -> None:
    for service in (*SERVICES, *STORES, "site"):
        published = [
            entry
            for entries in stack.inspect(service)["NetworkSettings"]["Ports"].values()
            if entries
            for entry in entries
        ]
        assert {entry["HostIp"] for entry in published} == ({"127.0.0.1"} if service in SERVICES else set())


def test_a_container_reads_its_own_secrets_and_no_others(stack: Stack) -> None:
    everything = ["redis/redis.conf", "mongo/keyfile", "app/redis_url", "app/tokens.toml", "operator/token"]
    own = {service: ["app/redis_url", "app/tokens.toml"] for service in SERVICES}
    own |= {"redis": ["redis/redis.conf"], "mongo": ["mongo/keyfile"]}
    for service, names in own.items():
        script = f"for f in {' '.join(everything)}; do [ -r /run/headrace/$f ] && echo $f; done; true"
        assert stack.compose("exec", "-T", service, "sh", "-c", script).stdout.split() == names, service


def test_no_secret_is_in_what_the_engine_shows(stack: Stack) -> None:
    script = "cat /run/headrace/*/*password /run/headrace/operator/token"
    values = stack.compose("run", "--rm", "init", "sh", "-c", script).stdout.split()
    assert [len(value) >= 43 for value in values] == [True] * 5
    for service in (*SERVICES, *STORES, "init"):
        shown = json.dumps(stack.inspect(service)) + stack.compose("logs", "--no-color", service).stdout
        assert not [value for value in values if value in shown], service


def test_the_services_login_reaches_its_own_database_alone(stack: Stack) -> None:
    script = """
    const fs = require("fs");
    db.getSiblingDB("headrace").auth("headrace", fs.readFileSync("/run/headrace/mongo/app_password", "utf8").trim());
    const code = (run) => { try { run(); return "allowed"; } catch (error) { return error.codeName; } };
    print(code(() => db.getSiblingDB("headrace").jobs.countDocuments()));
    print(code(() => db.getSiblingDB("other").things.insertOne({})));
    print(code(() => db.getSiblingDB("admin").getUsers()));
    print(code(() => db.adminCommand({ shutdown: 1 })));
    """
    said = stack.compose("exec", "-T", "mongo", "mongosh", "--quiet", "--norc", "--eval", script).stdout.split()
    assert said == ["allowed", "Unauthorized", "Unauthorized", "Unauthorized"]


def test_the_services_redis_user_may_do_what_they_do_and_nothing_else(stack: Stack) -> None:
    for words, said in (
        ("GET headrace:x", ""), ("GET other:x", "NOPERM"), ("KEYS *", "NOPERM"), ("FLUSHALL", "NOPERM"),
        ("CONFIG GET dir", "NOPERM"), ("EVAL return+1 0", "NOPERM"), ("ACL LIST", "NOPERM"),
    ):  # fmt: skip
        login = 'REDISCLI_AUTH="$(cat /run/headrace/redis/app_password)"'
        script = f"set -f; {login} redis-cli --no-auth-warning --user headrace {words} 2>&1"
        assert stack.compose("exec", "-T", "redis", "sh", "-c", script).stdout.strip().split(" ")[0] == said, words


async def test_a_stop_drains_and_a_new_start_keeps_jobs_and_token(stack: Stack) -> None:
    token = stack.token()
    async with stack.client() as client:
        job = await client.submit("noop", {"note": "kept"})
        await client.wait(job.id, timeout=30)
    stack.compose("stop", *SERVICES, seconds=200)
    assert {service: stack.inspect(service)["State"]["ExitCode"] for service in SERVICES} == dict.fromkeys(SERVICES, 0)
    stack.compose("up", "-d", "--wait", "--wait-timeout", "150", "--force-recreate", seconds=200)
    assert stack.token() == token
    async with stack.client() as client:
        assert (await client.get(job.id)).payload == {"note": "kept"}


async def stored(client: Client, job_id: str) -> set[str]:
    """The paths of the pages that were stored as good."""
    return {"/" + page.url.removeprefix(SITE_URL) async for page in client.pages(job_id) if page.state == "ok"}
