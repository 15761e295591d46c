"""B13: recovery warns about waiting jobs whose type no live worker of the pool has."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from recovery_stage import POOL, Stage
from structlog.testing import capture_logs

from headrace.recovery.metrics import RecoveryMetrics
from headrace.recovery.unserved import UnservedDuty


@pytest.fixture
def duty(stage: Stage) -> UnservedDuty:
    return UnservedDuty(stage.parts, stage.pools)


async def test_b13_a_waiting_type_without_a_live_worker_is_told_once_and_again_when_it_is_served(
    stage: Stage, duty: UnservedDuty
) -> None:
    await stage.worker("w-live", types=("noop",))
    await stage.worker("w-dead", types=("resize",))
    await stage.die("w-dead")
    await stage.job(type="noop")
    for _ in range(2):
        await stage.job(type="resize")
    with capture_logs() as logs:
        assert await duty.run_once() == {}
        await duty.run_once()
    found = [line for line in logs if line["event"] == "recovery.no_worker_for_type"]
    assert [(line["pool"], line["waiting"]) for line in found] == [(POOL, {"resize": 2})]
    assert duty.by_pool == {POOL: {"resize": 2}}
    await stage.worker("w-new", types=("noop", "resize"))
    with capture_logs() as logs:
        await duty.run_once()
    assert [line["event"] for line in logs] == ["recovery.every_type_served"]


async def test_a_worker_of_another_pool_does_not_serve(stage: Stage, duty: UnservedDuty) -> None:
    await stage.worker("w-live", types=("noop",))
    await stage.job(pool="other")
    await duty.run_once()
    assert duty.by_pool == {"other": {"noop": 1}}
    registry = CollectorRegistry()
    RecoveryMetrics(registry).unserved(duty.by_pool)
    assert registry.get_sample_value("job_types_without_worker", {"queue": "other"}) == 1


async def test_running_jobs_and_empty_pools_are_no_reason(stage: Stage, duty: UnservedDuty) -> None:
    await stage.running()
    await duty.run_once()
    assert duty.by_pool == {POOL: {}}
