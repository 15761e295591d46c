"""What the compose file offers beside the plain system: replicas, load from inside, chaos before the stores."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from headrace.client import Client
from headrace.contracts.api import JobView
from headrace.testing.eventually import eventually

from .composed import SERVICES, Stack
from .engine import docker

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

CHAOS = {
    "HEADRACE_STORES": "disturbed", "HEADRACE_CHAOS_SECONDS": "20", "HEADRACE_CHAOS_SEED": "7",
    "HEADRACE_LOAD_SECONDS": "5",
}  # fmt: skip


async def all_complete(client: Client, count: int) -> None:
    """So many jobs are accepted, and each ends well."""
    answers = await client.submit_many({"type": "noop", "payload": {"note": str(n)}} for n in range(count))
    ids = [answer.id for answer in answers if isinstance(answer, JobView)]
    assert len(ids) == count, answers
    ended = await client.wait_all(ids, timeout=120)
    assert {job.state for job in ended} == {"completed"}


async def test_workers_and_recoveries_are_scaled_without_a_word_to_the_others(stack: Stack) -> None:
    words = ("up", "-d", "--no-recreate", "--wait", "--wait-timeout", "200")
    stack.compose(*words, "--scale", "worker=3", "--scale", "recovery=2", seconds=240)
    running = stack.compose("ps", "--format", "{{.Service}} {{.Health}}").stdout.splitlines()
    assert (running.count("worker healthy"), running.count("recovery healthy")) == (3, 2)

    async with stack.client() as client:

        async def three_offer_it() -> bool:
            return {found.type: found.workers for found in await client.job_types()}.get("noop") == 3

        await eventually(three_offer_it, within=60, every=0.5, what="three workers are known")
        await all_complete(client, 30)
    ports = {stack.compose("port", "--index", str(n), "worker", "8082").stdout.strip() for n in (1, 2, 3)}
    assert len(ports) == 3
    stack.compose(*words, "--scale", "worker=1", "--scale", "recovery=1", seconds=240)
    async with stack.client() as client:
        await all_complete(client, 5)


def test_the_load_is_bounded_and_leaves_a_report(stack: Stack) -> None:
    began = time.monotonic()
    name = f"{stack.project}-the-load"
    words = ("--profile", "load", "run", "--build", "--name", name, "load")
    done = stack.compose(*words, seconds=300, HEADRACE_LOAD_SECONDS="8", HEADRACE_LOAD_USERS="10")
    assert time.monotonic() - began < 240
    assert "10 users for" in done.stdout
    assert "none answered with a 5xx" in done.stdout
    host = json.loads(docker("inspect", name))[0]["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False)
    docker("rm", name)
    shown = stack.compose(
        "--profile", "load", "run", "--rm", "--entrypoint", "sh", "load", "-c",
        "ls /report; ls /run/headrace; ls /run/headrace/operator",
    ).stdout.split()  # fmt: skip
    assert {"report.html", "facts.json", "summary.md"} <= set(shown)
    assert shown[-2:] == ["operator", "token"], "it sees the operator's token and no other secret"


async def test_under_chaos_between_services_and_stores_every_accepted_job_completes(stack: Stack) -> None:
    words = ("--profile", "chaos", "up", "-d", "--build", "--wait", "--wait-timeout", "240")
    stack.compose(*words, seconds=280, **CHAOS)
    assert stack.inspect("chaos")["Mounts"] == [], "neither the engine's socket nor anything else of the host"

    def told() -> list[dict[str, Any]]:
        lines = stack.compose("logs", "--no-color", "--no-log-prefix", "chaos").stdout.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    accepted: list[str] = []
    async with stack.client() as client:

        async def over() -> bool:
            answers = await client.submit_many({"type": "noop", "payload": {}} for _ in range(3))
            accepted.extend(answer.id for answer in answers if isinstance(answer, JobView))
            return told()[-1]["event"] in {"chaos.over", "chaos.unused"}

        await eventually(over, within=200, every=0.3, what="the plan is carried out")
        assert len(accepted) > 20
        assert {job.state for job in await client.wait_all(accepted, timeout=180)} == {"completed"}
        last = told()[-1]
        assert last["event"] == "chaos.over", last
        assert last["planned"] == last["fired"] > 3, told()
        # Whoever is in between still passes everything on.
        for service in SERVICES:
            stack.compose("exec", "-T", service, "true")
        await all_complete(client, 20)
    stack.compose("--profile", "chaos", "stop", "chaos")
    assert stack.inspect("chaos")["State"]["ExitCode"] == 0
    stack.compose("up", "-d", "--wait", "--wait-timeout", "200", seconds=240)
    async with stack.client() as client:
        await all_complete(client, 5)
