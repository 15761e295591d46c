"""Recovery as a process: killed at every dangerous moment, and another one finishes the work."""

from __future__ import annotations

import asyncio
import random
import re
import signal
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from recovery_stage import LONG_AGO, POOL, Process, Stage, open_stage

from headrace.contracts.config import JobConfig
from headrace.contracts.states import JobState
from headrace.recovery import rebuild
from headrace.recovery.dead_claims import DeadClaimsDuty
from headrace.recovery.orphans import OrphanDuty
from headrace.recovery.overdue import CancelDuty, TimeoutDuty
from headrace.recovery.rebuild import RebuildDuty
from headrace.recovery.retention import RetentionDuty
from headrace.recovery.sweep import SweepDuty
from headrace.runtime.process import failpoints
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually


@pytest.mark.parametrize("name", ["holding_leader_lock", "during_rebuild"])
async def test_hazard_26_a_killed_leader_is_followed_within_its_lease(
    stage: Stage, config: JobConfig, tmp_path: Path, name: str
) -> None:
    """Hazards 12 and 26: the dead leader's lease runs out, a standby acts, and Redis shows MongoDB's pending jobs."""
    orphan = await stage.running(owner="w-gone")
    stuck = await stage.job()
    await stage.in_flight(stuck.id, seconds_ago=60)
    jobs = [await stage.job() for _ in range(20)]
    with Process(config, tmp_path / "first.log", JOB_FAILPOINTS=f"{name}=exit137") as first:
        assert await first.ended() == 137, "the failpoint must have fired"
    with Process(config, tmp_path / "second.log") as second:

        async def is_right() -> bool:
            assert await stage.parts.queue.is_complete(POOL)
            assert set(await stage.held_ids()) == {job.id for job in (orphan, stuck, *jobs)}
            return (await stage.where(orphan.id)).place == "ready"

        await eventually(is_right, within=20)
        assert len((await stage.document(orphan.id)).log) == 2, "handed back once"
        second.send(signal.SIGTERM)
        assert await second.ended() == 0


HALF_WAY = [
    "between_select_and_update",
    "between_hand_back_and_push",
    "after_push",
    "during_rebuild",
    "before_finish_rebuild",
    "after_finish_rebuild",
    "between_dead_claims_look_and_move",
    "between_sweep_look_and_move",
    "between_overdue_look_and_update",
    "between_cancel_look_and_update",
    "between_retention_look_and_delete",
]


@pytest.mark.parametrize("name", HALF_WAY)
async def test_hazard_26_a_pass_that_dies_half_way_is_ended_by_the_next(config: JobConfig, name: str) -> None:
    async with open_stage(config.model_copy(update={"retention_bytes": 1})) as stage:
        await stage.worker("w-live")
        orphan = await stage.running(owner="w-gone", timeout_seconds=3600)
        popped, stuck = await stage.job(), await stage.job()
        late = await stage.running(owner="w-live", timeout_seconds=5)
        asked = await stage.running(owner="w-live", timeout_seconds=3600, cancel_requested_at=LONG_AGO)
        over = await stage.job(state=JobState.COMPLETED, finished_at=LONG_AGO - timedelta(days=1))
        for job in (orphan, stuck, late, asked):
            await stage.in_flight(job.id, seconds_ago=60)
        await stage.in_flight(popped.id, seconds_ago=3, token="w-gone.1")
        duties = (
            OrphanDuty(stage.parts),
            RebuildDuty(stage.parts, stage.pools),
            DeadClaimsDuty(stage.parts, stage.pools),
            TimeoutDuty(stage.parts, dice=lambda: 0),
            CancelDuty(stage.parts),
            RetentionDuty(stage.parts),
            SweepDuty(stage.parts, stage.pools, stage.suspects),
        )
        failpoints.install(f"{name}=error:RuntimeError,once")
        died = 0
        try:
            for duty in (*duties, *duties):
                try:
                    await duty.run_once()
                except RuntimeError:
                    died += 1
        finally:
            failpoints.install("")
        assert died == 1, "the failpoint must have fired"
        assert await stage.parts.queue.is_complete(POOL)

        async def is_swept() -> bool:
            await duties[-1].run_once()
            held = await stage.held_ids()
            assert set(held) == {orphan.id, popped.id, stuck.id, late.id}
            return "inflight" not in held.values()

        await eventually(is_swept, what="a lost push is found when its sender had its time")
        for job, reason in ((orphan, "host_lost"), (late, "timeout"), (asked, "cancelled")):
            log = (await stage.document(job.id)).log
            assert [entry.reason for entry in log[len(job.log) :]] == [reason], "once"
        assert await stage.parts.database.jobs.find_one({"_id": over.id}) is None


def test_hazard_26_no_failpoint_of_recovery_is_left_out() -> None:
    source = Path(rebuild.__file__).parent
    named = {name for file in source.glob("*.py") for name in re.findall(r'fp\("(\w+)"\)', file.read_text())}
    elsewhere = {"before_leader_lock", "holding_leader_lock", "before_declare_lost", "after_declare_lost"}
    assert named == {*HALF_WAY, *elsewhere}


async def test_hazard_26_a_rebuild_cut_at_ten_moments_ends_complete(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "PAGE", 200)
    jobs = [make_job(updated_at=LONG_AGO) for _ in range(4000)]
    for first in range(0, len(jobs), 1000):
        await stage.store(*jobs[first : first + 1000])
    dice = random.Random(26)
    for cut in range(10):
        task = asyncio.create_task(RebuildDuty(stage.parts, stage.pools).run_once())
        await asyncio.sleep(dice.random() * 0.25)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if cut % 3 == 2:  # Redis loses something as well
            await stage.redis.delete(stage.keys.ready, stage.keys.epoch, stage.keys.rebuilding)
    await RebuildDuty(stage.parts, stage.pools).run_once()
    assert await stage.parts.queue.is_complete(POOL)
    assert set(await stage.held_ids()) == {job.id for job in jobs}


async def test_the_service_starts_without_stores_and_drains_at_a_signal(config: JobConfig, tmp_path: Path) -> None:
    nowhere = {"JOB_REDIS_URL": "redis://127.0.0.1:1", "JOB_MONGO_URL": "mongodb://127.0.0.1:1/?replicaSet=rs0"}
    with Process(config, tmp_path / "log", **nowhere) as process:
        url = await eventually(process.url)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/readyz") as answer:
                assert answer.status == 503
            async with session.get(f"{url}/healthz") as answer:
                assert answer.status == 200
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
    text = (tmp_path / "log").read_text()
    assert "Traceback" not in text
    assert "duty.failed" in text


async def test_a_wrong_setting_is_one_line_and_code_2(config: JobConfig, tmp_path: Path) -> None:
    with Process(config, tmp_path / "log", JOB_RECOVERY_INTERVAL_SECOND="5") as process:
        assert await process.ended() == 2
    [line] = (tmp_path / "log").read_text().splitlines()
    assert "did you mean JOB_RECOVERY_INTERVAL_SECONDS" in line
