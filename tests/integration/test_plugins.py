"""A plug-in distribution, installed into a folder of its own and given to one of two workers.

The scheduler never restarts, and the worker without the plug-in serves the same pools all the while.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from whole import Whole

from headrace.contracts.errors import InvalidPayloadError
from headrace.contracts.job import Priority
from headrace.local.ports import free_port
from headrace.local.service import ServiceProcess, service_spec
from headrace.runtime.store.job_types import JobType, JobTypes
from headrace.runtime.store.state_manager import JobStateManager
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually
from headrace_example_executors.word_count import WordCount

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "headrace-example-executors"
UNTOUCHED = ["submitted"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built and installed into a folder, as an operator would who has no network there."""
    target = tmp_path_factory.mktemp("plugins")
    subprocess.run(
        [
            str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--offline", "--no-cache",
            "--no-deps", "--no-build-isolation", "--python", sys.executable, "--target", str(target), str(EXAMPLE),
        ],
        check=True,
        timeout=120,
    )  # fmt: skip
    return target


def with_plugins(whole: Whole, plugins: Path) -> dict[str, str]:
    """The environment of a worker that has the plug-in."""
    env = whole.system._environment()
    # Without the executors for tests: one child less to start.
    return {
        **env,
        "JOB_TEST_MODE": "0",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(plugins), env.get("PYTHONPATH")])),
    }


@asynccontextmanager
async def worker_with(whole: Whole, plugins: Path) -> AsyncIterator[ServiceProcess]:
    """A second worker, which has the plug-in."""
    log = whole.system.folder / "logs" / "worker-with-plugins.log"
    worker = ServiceProcess(
        service_spec("worker", 8082), port=free_port(), env=with_plugins(whole, plugins), log_file=log
    )
    try:
        async with aiohttp.ClientSession() as session:
            try:
                await eventually(lambda: worker.is_ready(session), within=120, every=0.1)
            except AssertionError:
                raise worker.not_ready() from None
        yield worker
        worker.terminate()
        await eventually(lambda: worker.exit_code is not None, within=15, what="the end of the second worker")
        assert worker.exit_code == 0
    finally:
        worker.kill()


async def types(whole: Whole) -> dict[str, dict[str, Any]]:
    """What `GET /v1/job-types` says, by type."""
    url = f"{whole.system.urls['scheduler']}/v1/job-types"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return {item["type"]: item for item in (await response.json())["types"]}


async def run(whole: Whole, type_: str, payload: dict[str, Any], **fields: Any) -> Any:
    done = await whole.client.wait((await whole.client.submit(type_, payload, **fields)).id, timeout=30)
    assert done.state == "completed", done
    return done.result


async def reasons(whole: Whole, job_id: str) -> list[str]:
    return [entry["reason"] for entry in (await whole.document(job_id))["log"]]


async def store(whole: Whole, version: int, payload: dict[str, Any]) -> str:
    """A job as a scheduler stored it that knew this version."""
    job = make_job(
        type="example.primes", pool="example-cpu", payload=json.dumps(payload), contract_version=version, indexed=False
    )
    await JobStateManager(whole.database).insert([job])
    return job.id


def kill_children(worker: ServiceProcess, pool: str) -> int:
    killed = 0
    for child in psutil.Process(worker.pid).children():
        if json.loads(child.environ().get("HEADRACE_CHILD", "{}")).get("pool") == pool:
            os.kill(child.pid, signal.SIGKILL)
            killed += 1
    return killed


async def test_a_plug_in_reaches_the_scheduler_and_runs_where_it_is_installed(whole: Whole, installed: Path) -> None:
    scheduler = whole.service("scheduler").pid
    async with worker_with(whole, installed) as worker:

        async def is_known() -> bool:
            found = await types(whole)
            assert {"example.digest", "example.word-count", "example.primes"} <= set(found)
            assert found["example.primes"]["contract_version"] == 2
            return True

        await eventually(is_known, within=10, what="the scheduler knows the types")
        with pytest.raises(InvalidPayloadError) as refused:
            await whole.client.submit("example.primes", {"up_to": -1, "limit": 3})
        assert {error.pointer for error in refused.value.errors} >= {"/payload/up_to"}

        url = f"{whole.system.urls['scheduler']}/openapi.json"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            body = await response.read()
        digest = await run(whole, "example.digest", {"url": url})
        assert digest == {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}
        assert (await run(whole, "example.word-count", {"text": "a b a"}))["top"] == [["a", 2], ["b", 1]]

        job = await whole.client.submit("example.primes", {"up_to": 1_000_000, "piece": 2000})
        assert (await whole.document(job.id))["contract_version"] == 2

        async def has_saved() -> bool:
            return "checkpoint" in await whole.document(job.id)

        await eventually(has_saved, within=15, what="a first checkpoint")
        assert kill_children(worker, "example-cpu") == 1
        done = await whole.client.wait(job.id, timeout=40)
        assert (done.state, done.result) == ("completed", {"count": 78498, "largest": 999983})
        assert (done.attempt, done.crashes) == (2, 0), "a crash after headway is not held against the job"
        await whole.assert_sound(job.id)

        await check_versions(whole, installed)
    assert whole.service("scheduler").pid == scheduler


async def check_versions(whole: Whole, installed: Path) -> None:
    """Older payloads are upcast; newer ones wait for a worker that knows them, and cost nothing."""
    old, newer = await store(whole, 1, {"limit": 100}), await store(whole, 3, {"beyond": "us"})
    await whole.until_state(old, "completed", within=20)
    assert json.loads((await whole.document(old))["result"]) == {"count": 25, "largest": 97}
    assert await run(whole, "example.primes", {"up_to": 10}) == {"count": 4, "largest": 7}
    check = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "headrace.worker", "check-payloads", "--type", "example.primes"],
        env=with_plugins(whole, installed), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert check.returncode == 1
    assert "example.primes  version 2  checked 1, ok 0 (upcast 0), newer 1, failing 0" in check.stdout
    assert await reasons(whole, newer) == UNTOUCHED
    await whole.client.cancel(newer)
    assert await reasons(whole, newer) == ["submitted", "cancelled"]


async def test_b13_a_worker_that_lacks_a_type_neither_consumes_nor_fails_its_jobs(
    whole: Whole, installed: Path
) -> None:
    schema = WordCount.payload_model.model_json_schema()
    await JobTypes(whole.database).register([JobType(WordCount.job_type, WordCount.policy, schema)])
    # A worker that had the type has registered it and is gone; the one that is left serves the pool and lacks the type.
    strange = [
        (await whole.client.submit("example.word-count", {"text": "a b"}, priority=Priority.HIGH)).id for _ in range(8)
    ]
    for _ in range(3):  # rounds, so that it meets them again after it put them back
        known = [await whole.client.submit("noop", {}) for _ in range(5)]
        for job in known:
            assert (await whole.client.wait(job.id, timeout=20)).state == "completed"
        await asyncio.sleep(2)
    for job_id in strange:
        assert await reasons(whole, job_id) == UNTOUCHED
        assert (await whole.document(job_id))["attempt"] == 0
    async with worker_with(whole, installed):
        for job_id in strange:
            done = await whole.client.wait(job_id, timeout=90)  # the other worker may be quicker, every 5 s
            assert (done.state, done.attempt, done.result["words"]) == ("completed", 1, 2)
    await whole.assert_sound(*strange)
    await whole.until_redis_agrees("default")
