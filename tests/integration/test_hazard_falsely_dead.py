"""Hazard 9: a live child that cannot renew its lease is taken for dead, and works on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from hazard_parts import held_ids, open_stores
from rolling import Fleet, Service, recovery_beside
from whole import assert_sound_log

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import ExecutionPolicy
from headrace.contracts.job import Job
from headrace.local.ports import free_port
from headrace.recovery.parts import Parts
from headrace.runtime.queue.base import Entry
from headrace.runtime.store.job_types import JobType
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually
from headrace.testing.executors import TEST_POOL

pytestmark = pytest.mark.slow

PLUGIN = """
import asyncio, ctypes, os, time
from pathlib import Path
from pydantic import BaseModel
from headrace.contracts.errors import LeaseLost
from headrace.contracts.executor import ExecutionPolicy, JobExecutor

class Payload(BaseModel):
    fifo: str
    tried: str

class Neighbour(JobExecutor[Payload]):
    job_type = "neighbour"
    payload_model = Payload
    policy = ExecutionPolicy(pool="test", slots_per_process=4)
    async def execute(self, context, payload):
        await asyncio.sleep(2 if context.attempt == 1 else 0)
        return context.attempt

class Hog(JobExecutor[Payload]):
    job_type = "hog"
    payload_model = Payload
    policy = ExecutionPolicy(pool="test", slots_per_process=4)
    def execute(self, context, payload):
        if context.attempt > 1:
            while not Path(payload.tried).exists():
                context.sync.report_progress(0.5)
                time.sleep(0.02)
            return context.attempt
        # One call that keeps the interpreter's lock until somebody writes: no other thread of the process turns.
        fifo = os.open(payload.fifo, os.O_RDWR)
        ctypes.PyDLL(None).read(fifo, ctypes.create_string_buffer(1), 1)
        try:
            context.sync.save_checkpoint("late")
        except LeaseLost:
            Path(payload.tried).write_text("refused")
        return context.attempt
"""
TYPES = ("hog", "neighbour")


@pytest.fixture
async def stores(config: JobConfig) -> AsyncIterator[Parts]:
    async with open_stores(config) as parts:
        await parts.job_types.register([JobType(name, ExecutionPolicy(pool=TEST_POOL), {}) for name in TYPES])
        assert await parts.queue.finish_rebuild(TEST_POOL, await parts.queue.begin_rebuild(TEST_POOL))
        yield parts


@pytest.fixture
def fleet(config: JobConfig, stores: Parts, tmp_path: Path) -> Iterator[Fleet]:
    (tmp_path / "hog_plugin.py").write_text(PLUGIN)
    info = tmp_path / "hog_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hog_plugin\nVersion: 1.0\n")
    points = "[headrace.executors]\nhog = hog_plugin:Hog\nneighbour = hog_plugin:Neighbour\n"
    (info / "entry_points.txt").write_text(points)
    fleet = Fleet(config, stores, tmp_path)
    fleet.settings |= {"JOB_TEST_MODE": "0", "PYTHONPATH": str(tmp_path)}
    yield fleet
    fleet.close()


async def submit(stores: Parts, type_: str, payload: dict[str, str]) -> Job:
    job = make_job(type=type_, pool=TEST_POOL, payload=json.dumps(payload))
    await stores.jobs.insert([job])
    await stores.queue.enqueue(TEST_POOL, [Entry(job.id, job.ready_score)])
    return job


async def until(stores: Parts, job: Job, state: str, *, within: float, attempts: int = 1) -> dict[str, Any]:
    """Its document, once it is in this state and has been claimed so often."""

    async def probe() -> dict[str, Any]:
        document: dict[str, Any] = await stores.database.jobs.find_one({"_id": job.id})
        assert document["state"] == state, document["log"]
        assert document["attempt"] >= attempts, document["log"]
        return document

    return await eventually(probe, within=within, every=0.05)


async def lost_leases(service: Service, port: str) -> int:
    """What its metrics say about attempts that no longer counted."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
        text = await response.text()
    return int(next(float(line.split()[1]) for line in text.splitlines() if line.startswith("job_lease_lost_total ")))


async def test_hazard_9_late_writes_of_a_child_that_was_taken_for_dead_are_refused_and_counted(
    fleet: Fleet, stores: Parts, tmp_path: Path
) -> None:
    """A job holds the interpreter's lock while its supervisor is stopped: nothing renews the lease, nothing kills it.

    Recovery gives both jobs of the child to another service. One runs there when the first child goes on: it saves a
    checkpoint and ends both jobs, and nothing of that may count.
    """
    fifo, tried = tmp_path / "fifo", tmp_path / "tried"
    os.mkfifo(fifo)
    payload = {"fifo": str(fifo), "tried": str(tried)}
    port = fleet.settings["JOB_HTTP_PORT"] = str(free_port())
    first = fleet.start()
    neighbour = await submit(stores, "neighbour", payload)
    await until(stores, neighbour, "processing", within=30)
    hog = await submit(stores, "hog", payload)
    await until(stores, hog, "processing", within=30)
    (child,) = [process for process in psutil.Process(first.pid).children() if "worker.child" in process.cmdline()[-1]]
    await eventually(lambda: _reads(child.pid, fifo), within=10, what="the job holds the lock")
    os.kill(first.pid, signal.SIGSTOP)
    try:
        fleet.settings["JOB_HTTP_PORT"] = "0"
        fleet.start()
        with recovery_beside(fleet, tmp_path / "recovery.log"):
            await until(stores, hog, "processing", within=60, attempts=2)
            fifo.write_bytes(b".")  # the first child goes on
            await eventually(lambda: child.status() == psutil.STATUS_ZOMBIE, within=30, what="it has ended itself")
            assert tried.read_text() == "refused", "its checkpoint was"
            done = [await until(stores, job, "completed", within=30, attempts=2) for job in (hog, neighbour)]
            await eventually(lambda: _nothing_held(stores), within=30)
    finally:
        os.kill(first.pid, signal.SIGCONT)

    async def both_counted() -> bool:
        assert await lost_leases(first, port) == 2
        return True

    await eventually(both_counted, within=20)
    for document in done:
        assert_sound_log(document)
        # Both stood in a process that may have died of them, so each runs alone and may go back before it starts. The
        # first child, as it goes on, may still be in a claim: then it loses that too, and nobody is blamed for it.
        reasons = [entry["reason"] for entry in document["log"] if entry["reason"] != "released"]
        assert reasons[:3] == ["submitted", "claimed", "host_lost"]
        assert set(reasons[3:-1]) <= {"claimed", "host_lost"}
        assert document["crashes"] == 1
        assert reasons[-1] == "completed"
        assert document["result"] == str(document["attempt"])
        assert document.get("checkpoint") is None


def _reads(pid: int, fifo: Path) -> bool:
    """Whether the process has opened the pipe, which it does just before it reads from it."""
    return any(os.path.realpath(f"/proc/{pid}/fd/{name}") == str(fifo) for name in os.listdir(f"/proc/{pid}/fd"))


async def _nothing_held(stores: Parts) -> bool:
    assert await held_ids(stores, TEST_POOL) == {}
    return True
