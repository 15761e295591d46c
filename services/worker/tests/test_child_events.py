"""A whole child in this process: what it tells, and that it needs no hint to be told."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr
from worker_stage import Stage

from headrace.contracts.config import JobConfig
from headrace.contracts.job import Job
from headrace.local.stores import RedisServer
from headrace.runtime.process.ids import new_incarnation
from headrace.runtime.queue.hints import Hints
from headrace.runtime.queue.history import EventLog
from headrace.testing.eventually import eventually
from headrace.testing.executors import TEST_POOL
from headrace.worker import claim_loop
from headrace.worker.board import Board
from headrace.worker.child_spec import ChildSpec
from headrace.worker.job_worker import JobWorker
from headrace.worker.registry import load_executors

TYPES = ("test.sleep", "test.fail", "test.steps", "noop")


@asynccontextmanager
async def booted(stage: Stage, config: JobConfig) -> AsyncIterator[None]:
    """A child that serves the pool of the tests until the end."""
    board = Board.create(2)
    spec = ChildSpec(new_incarnation(), TEST_POOL, TYPES, 2, os.dup(board.descriptor), 5.0, tempfile.mkdtemp())
    await stage.incarnations.register(
        spec.incarnation,
        service="s",
        host="h",
        pool=TEST_POOL,
        types=TYPES,
        slots=2,
        version="0",
        lease_seconds=60,
    )
    worker = JobWorker(spec, config, load_executors(test_mode=True, only=TYPES))
    await asyncio.to_thread(worker.boot)
    try:
        yield
    finally:
        await asyncio.to_thread(worker.drain)
        await asyncio.to_thread(worker.close)
        worker._board.close()
        board.close()


async def submit(stage: Stage, type_: str, payload: dict[str, Any] | None = None, **fields: Any) -> Job:
    (job,) = await stage.submit(type=type_, pool=TEST_POOL, payload=json.dumps(payload or {}), **fields)
    return job


async def names(log: EventLog, job: Job) -> list[str]:
    return [event.event.value for _, event in (await log.read(None, 5000)).events if event.id == job.id]


async def test_every_step_of_a_job_is_told_once_and_in_order(stage: Stage, worker_config: JobConfig) -> None:
    log = EventLog(stage.redis, stage.config.namespace)
    async with booted(stage, worker_config):
        fine = await submit(stage, "noop")
        dead = await submit(stage, "test.fail", {"how": "permanent"})
        steps = await submit(stage, "test.steps", {"steps": 15, "seconds": 0.1})
        for job, last in ((fine, "job.completed"), (dead, "job.failed"), (steps, "job.completed")):
            await eventually(lambda: _has(log, job, last), within=15)  # noqa: B023 -- awaited here
        assert await names(log, fine) == ["job.started", "job.completed"]
        assert await names(log, dead) == ["job.started", "job.failed"]
        told = await names(log, steps)
        assert (told[0], told[-1]) == ("job.started", "job.completed")
        assert set(told[1:-1]) == {"job.progress"}


async def test_what_a_drain_hands_back_is_told_before_the_child_ends(stage: Stage, worker_config: JobConfig) -> None:
    log = EventLog(stage.redis, stage.config.namespace)
    async with booted(stage, worker_config):
        job = await submit(stage, "test.sleep", {"seconds": 0.5})
        await eventually(lambda: _has(log, job, "job.started"))
    assert await names(log, job) == ["job.started", "job.completed"]


async def test_started_says_that_the_executor_runs_not_that_the_job_was_claimed(
    stage: Stage, worker_config: JobConfig
) -> None:
    """Two slots, three jobs: the third waits, claimed or not, and is not told of."""
    log = EventLog(stage.redis, stage.config.namespace)
    async with booted(stage, worker_config):
        jobs = [await submit(stage, "test.sleep", {"seconds": 1}) for _ in range(3)]
        await eventually(lambda: _has(log, jobs[1], "job.started"))
        assert await names(log, jobs[2]) == []
        await eventually(lambda: _has(log, jobs[2], "job.completed"), within=15)


@pytest.mark.parametrize("how", ["killed", "unheard"])
async def test_hazard_25_lost_wake_ups_cost_one_poll(
    own_stage: Stage,
    own_redis: RedisServer,
    worker_config: JobConfig,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """Every subscription is killed fifty times a second, or nobody listens at all: jobs start within a poll."""
    assert claim_loop.POLL_SECONDS <= 1.0
    config = worker_config.model_copy(update={"redis_url": SecretStr(own_redis.url)})
    log = EventLog(own_stage.redis, own_stage.config.namespace)
    if how == "unheard":

        async def silence(*_: object) -> AsyncIterator[str]:
            await asyncio.Event().wait()
            yield ""

        monkeypatch.setattr(Hints, "wakes", silence)
        monkeypatch.setattr(Hints, "controls", silence)
    stop = asyncio.Event()
    killing = asyncio.create_task(_kill_subscriptions(own_stage, stop if how == "killed" else None))
    async with booted(own_stage, config):
        for _ in range(3):
            await asyncio.sleep(0.2)
            asked = time.monotonic()
            job = await submit(own_stage, "noop")
            await eventually(lambda: _has(log, job, "job.started"))  # noqa: B023 -- awaited here
            # A poll of a second, and what a busy machine needs for the rest.
            assert time.monotonic() - asked < claim_loop.POLL_SECONDS + 1.5
    stop.set()
    await killing


async def _kill_subscriptions(stage: Stage, stop: asyncio.Event | None) -> None:
    while stop is not None and not stop.is_set():
        await stage.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(0.02)


async def _has(log: EventLog, job: Job, name: str) -> bool:
    return name in await names(log, job)
