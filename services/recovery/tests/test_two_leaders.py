"""C11: no rule rests on there being one leader. Every duty of two leaders at once, and the result is that of one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from recovery_stage import LONG_AGO, POOL, Stage

from headrace.contracts.config import JobConfig
from headrace.contracts.job import Priority
from headrace.contracts.states import TRANSITIONS, JobState
from headrace.recovery import ghosts
from headrace.recovery.metrics import RecoveryMetrics
from headrace.recovery.parts import open_parts
from headrace.recovery.service import JobRecoveryService
from headrace.testing.builders import make_job_id

pytestmark = pytest.mark.slow

ROUNDS = 4
OLD = LONG_AGO - timedelta(days=1)


def leader(config: JobConfig) -> JobRecoveryService:
    """A service that is not started: its duties are run by hand, as if it led."""
    service = JobRecoveryService(open_parts(config), RecoveryMetrics(CollectorRegistry()))
    service._may_go_on = lambda: True  # type: ignore[method-assign]
    for duty in service.duties:
        if hasattr(duty, "_go_on"):
            duty._go_on = lambda: True
    return service


async def break_everything(stage: Stage) -> dict[str, Any]:
    """Something for every duty, five of each; returns what must become of each document."""
    await stage.worker("w-live", types=("other",))
    await stage.worker("w-dead")
    await stage.worker("w-lapsed", lease_seconds=-1)
    await stage.know_pool()
    wanted: dict[str, Any] = {}

    async def expect(job: Any, state: JobState | None, log: int, **fields: Any) -> None:
        wanted[job.id] = (state, log, fields)

    for n in range(5):
        orphan = await stage.running("w-dead", crashes=n % 3)
        looped = n % 3 == 2
        await expect(orphan, JobState.FAILED if looped else JobState.QUEUED, 2, crashes=n % 3 + 1)
        await expect(await stage.running("w-gone"), JobState.QUEUED, 2, crashes=1)
        late = await stage.running("w-live", timeout_seconds=5)
        await expect(late, JobState.QUEUED, 2, failures=1, crashes=0)
        asked = await stage.running("w-live", timeout_seconds=9999, cancel_requested_at=LONG_AGO)
        await expect(asked, JobState.CANCELLED, 2, failures=0)
        await expect(await stage.job(expires_at=LONG_AGO), JobState.FAILED, 2)
        await expect(await stage.job(state=JobState.COMPLETED, finished_at=OLD), None, 0)
        stored = await stage.job(indexed=False)
        await expect(stored, JobState.QUEUED, 1, indexed=True)
        starving = await stage.job(priority=Priority.LOW, created_at=OLD, run_at=OLD)
        await expect(starving, JobState.QUEUED, 1)
        stuck, popped, kept = await stage.job(), await stage.job(), await stage.job()
        await stage.in_flight(stuck.id, seconds_ago=60)
        await stage.in_flight(popped.id, seconds_ago=3, token=f"w-gone.{n}")
        past = await stage.parts.queue.time_ms() - 1000
        await stage.redis.zadd(stage.keys.reserved, {kept.id: past, make_job_id(): past})
        wrong = await stage.job()
        await stage.redis.zadd(stage.keys.ready, {wrong.id: 1, make_job_id(): 2})
        for job in (stuck, popped, kept, wrong):
            await expect(job, JobState.QUEUED, 1)
    await stage.die("w-dead", running=tuple(wanted))
    return wanted


@pytest.mark.parametrize("leaders", [1, 2])
async def test_c11_every_duty_of_two_leaders_at_once_brings_about_what_one_does(
    stage: Stage, config: JobConfig, monkeypatch: pytest.MonkeyPatch, leaders: int
) -> None:
    monkeypatch.setattr(ghosts, "APART_SECONDS", 0.05)
    settings = config.model_copy(update={"retention_bytes": 1, "starvation_seconds": 3600.0})
    wanted = await break_everything(stage)
    services = [leader(settings) for _ in range(leaders)]
    try:
        for _ in range(ROUNDS):
            # All duties of all leaders together: whatever interleaving comes of it must be harmless.
            await asyncio.gather(*(duty.run_once() for service in services for duty in service.duties))
            await asyncio.sleep(0.7)  # older than what a pass leaves alone because it changed just now
        last = [{duty.name: await duty.run_once() for duty in service.duties} for service in services]
        drift = [service.full_pass.drift_by_kind for service in services]
    finally:
        for service in services:
            await service.stop()
    assert [sum(found.values()) for found in drift] == [0] * leaders
    assert [{name: counts for name, counts in found.items() if counts} for found in last] == [{}] * leaders, "at rest"
    pending = set()
    for job_id, (state, length, fields) in wanted.items():
        document = await stage.parts.database.jobs.find_one({"_id": job_id})
        assert (document and document["state"]) == state, job_id
        if document is None:
            continue
        assert {name: document[name] for name in fields} == fields
        assert len(document["log"]) == length, "moved once"
        for entry in document["log"][1:]:
            assert entry["reason"] in TRANSITIONS[JobState(entry["from"]), JobState(entry["to"])]
        pending |= {job_id} if state is JobState.QUEUED else set()
    held = await stage.held_ids()
    assert set(held) == pending
    assert set(held.values()) <= {"ready", "delayed"}
    assert await stage.parts.queue.is_complete(POOL)
    assert await stage.redis.zcard(stage.keys.reserved) == 0


def test_a_standby_does_not_go_on_telling_what_it_knew_as_leader() -> None:
    registry = CollectorRegistry()
    metrics = RecoveryMetrics(registry)
    metrics.leads(True)
    metrics.drifted({"missing": 7})
    metrics.failed("sweep")
    metrics.unserved({"default": {"noop": 3}})
    metrics.stores(5, limit=4)
    metrics.leads(False)
    told = {sample.name: sample.value for metric in registry.collect() for sample in metric.samples}
    assert registry.get_sample_value("job_drift", {"kind": "missing"}) == 0
    assert registry.get_sample_value("job_recovery_duty_failing", {"duty": "sweep"}) is None
    assert registry.get_sample_value("job_types_without_worker", {"queue": "default"}) is None
    assert (told["job_stored_bytes"], told["job_retention_limit_bytes"], told["job_recovery_leader"]) == (0, 0, 0)


def test_a_pool_that_is_gone_has_no_unserved_types_any_more() -> None:
    registry = CollectorRegistry()
    metrics = RecoveryMetrics(registry)
    metrics.unserved({"default": {"noop": 3}, "other": {}})
    metrics.unserved({"other": {"crawl": 1, "noop": 2}})
    assert registry.get_sample_value("job_types_without_worker", {"queue": "default"}) is None
    assert registry.get_sample_value("job_types_without_worker", {"queue": "other"}) == 2


async def test_a_lease_that_lapsed_is_declared_by_two_leaders_once(stage: Stage, config: JobConfig) -> None:
    """Each has watched it for a lease; the update names the lease as seen."""
    await stage.worker("w-lapsed", lease_seconds=-1)
    services = [leader(config) for _ in range(2)]
    try:
        clocks = [service._deaths for service in services]
        for seconds in (0.0, 9.0, 18.0, *(27.0 + 9 * n for n in range(9))):
            for deaths in clocks:
                deaths._clock = lambda now=seconds: now  # type: ignore[misc]
            counts = await asyncio.gather(*(deaths.run_once() for deaths in clocks))
            if any(counts):
                break
        assert sum(count["worker_lost"] for count in counts) == 1
    finally:
        for service in services:
            await service.stop()
    found = await stage.parts.incarnations.get("w-lapsed")
    assert found is not None
    assert found.dead_at is not None
    assert found.dead_at <= datetime.now(UTC)
