"""The commands of README and docs that need a system, or some seconds, as they stand in their pages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from whole import Whole

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).parents[2]


def block(page: str, begins: str) -> str:
    """The block of a page that begins so."""
    found = re.findall(r"^```sh\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (code,) = [code for code in found if code.startswith(begins)]
    return str(code)


def run(script: str, *, good: set[int] | None = None, **environment: str) -> str:
    """What a shell says to a script, with our commands on its path."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=os.environ | {"PATH": path} | environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (good or {0}), f"{script}\nended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def stores(whole: Whole) -> dict[str, str]:
    return {"JOB_REDIS_URL": whole.system.redis.url, "JOB_MONGO_URL": whole.system.mongo.url}


async def test_the_request_of_the_readme_is_accepted(whole: Whole) -> None:
    script = block("README.md", "curl").replace("http://127.0.0.1:8080", whole.system.urls["scheduler"])
    job = json.loads(run(f"TOKEN=any\n{script}"))
    assert (job["type"], job["state"]) == ("crawl", "queued")
    await whole.client.cancel(job["id"])


async def test_the_check_of_operations_tells_what_it_compared(whole: Whole) -> None:
    """docs/operations.md: beside running services something may be seconds old, which is exit code 1."""
    script = block("docs/operations.md", "headrace-recovery")
    assert "crawl" in run(script, good={0, 1}, **stores(whole))


async def test_the_payloads_of_what_waits_are_checked(whole: Whole) -> None:
    job = await whole.client.submit("noop", {"note": "checked"}, delay_seconds=3600)
    said = run(block("docs/write-an-executor.md", "headrace-worker check-payloads"), **stores(whole))
    assert "noop" in said or "1" in said
    await whole.client.cancel(job.id)


async def test_the_commands_of_the_simulation_run_schedules() -> None:
    """docs/simulation.md: as many schedules as take a few seconds."""
    script = block("docs/simulation.md", "make simulate").partition("\n")[2].replace(".venv/bin/python", "python")
    said = run(script.replace("--schedules 5000", "--schedules 20"))
    assert "20 schedules" in said
    assert "1 schedules" in said


async def test_the_commands_of_the_protocol_explore() -> None:
    """docs/protocol-rules.md: whole where that takes seconds; the longer ones, which `tests/protocol` runs, begin."""
    *longer, audit = block("docs/protocol-rules.md", "python -m tests.protocol").splitlines()
    for line in longer:
        command = line.partition("#")[0].rstrip()
        assert "states" in run(f"{command} --limit 20", good={0, 1}), "exit code 2 is bad usage"
    said = run(audit)
    assert "ok " in said
    assert "FAIL" not in said
