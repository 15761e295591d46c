"""What changed lately, and everything: Redis before, one pass, Redis after."""

from __future__ import annotations

from typing import Any

import pytest
from recovery_stage import Stage

from headrace.contracts.job import Priority
from headrace.contracts.states import JobState
from headrace.recovery import full, recent
from headrace.recovery.full import FullPass
from headrace.recovery.ghosts import GhostDuty, Suspects
from headrace.recovery.recent import RecentDuty
from headrace.testing.builders import make_job, make_job_id


@pytest.fixture(params=["recent", "full"])
async def duty(stage: Stage, request: pytest.FixtureRequest) -> RecentDuty | FullPass:
    """Both mend the same; the recent one sees what changed in the last two minutes."""
    await stage.complete()
    if request.param == "recent":
        return RecentDuty(stage.parts, stage.mender)
    return FullPass(stage.parts, stage.pools, stage.mender)


async def seconds_ago(stage: Stage, seconds: float) -> dict[str, object]:
    now = await stage.parts.reconcile.now()
    return {"updated_at": now.fromtimestamp(now.timestamp() - seconds, now.tzinfo)}


async def test_a_job_that_redis_lost_waits_again(stage: Stage, duty: RecentDuty | FullPass) -> None:
    job = await stage.job(**await seconds_ago(stage, 5))
    assert await duty.run_once() == {"missing": 1}
    located = await stage.where(job.id)
    assert (located.place, located.score) == ("ready", job.ready_score)
    assert await duty.run_once() == {}


async def test_a_running_job_that_redis_lost_counts_again(stage: Stage, duty: RecentDuty | FullPass) -> None:
    job = await stage.running(**await seconds_ago(stage, 5))
    assert await duty.run_once() == {"missing": 1}
    located = await stage.where(job.id)
    assert (located.place, located.token) == ("inflight", "t1")


async def test_the_holder_of_a_job_that_vanished_from_redis_is_not_kept(stage: Stage) -> None:
    """Its id went out of the set by another hand, and the job is over: nobody would look at it again."""
    await stage.complete()
    await stage.redis.hset(stage.keys.holder, make_job_id(), "t1")
    running = await stage.running(**await seconds_ago(stage, 5))
    await stage.redis.zadd(stage.keys.inflight, {running.id: await stage.parts.queue.time_ms()})
    await stage.redis.hset(stage.keys.holder, running.id, "t1")
    full_pass = FullPass(stage.parts, stage.pools, stage.mender)
    assert await full_pass.run_once() == {}
    assert await stage.redis.hgetall(stage.keys.holder) == {running.id: "t1"}


async def test_a_job_whose_push_is_still_to_come_is_no_drift(stage: Stage, duty: RecentDuty | FullPass) -> None:
    await stage.job(**await seconds_ago(stage, 0))
    assert await duty.run_once() == {}


async def test_a5_a_refused_job_that_comes_back_soon_is_no_drift(stage: Stage, duty: RecentDuty | FullPass) -> None:
    job = await stage.job(**await seconds_ago(stage, 30))
    await stage.redis.zadd(stage.keys.delayed, {job.id: await stage.parts.queue.time_ms() + 5000})
    assert await duty.run_once() == {}
    assert (await stage.where(job.id)).place == "delayed"


async def test_a_due_job_delayed_for_long_is_made_ready(stage: Stage, duty: RecentDuty | FullPass) -> None:
    job = await stage.job(**await seconds_ago(stage, 30))
    await stage.redis.zadd(stage.keys.delayed, {job.id: await stage.parts.queue.time_ms() + 3_600_000})
    assert await duty.run_once() == {"wrong_order": 1}
    assert (await stage.where(job.id)).place == "ready"


async def test_a_job_at_the_wrong_place_gets_its_own(stage: Stage, duty: RecentDuty | FullPass) -> None:
    low = await stage.job(priority=Priority.LOW, **await seconds_ago(stage, 30))
    await stage.redis.zadd(stage.keys.ready, {low.id: 1})
    assert await duty.run_once() == {"wrong_order": 1}
    assert (await stage.where(low.id)).score == low.ready_score


async def test_a_job_that_waits_for_its_time_leaves_the_ready_ones(stage: Stage, duty: RecentDuty | FullPass) -> None:
    now = await stage.parts.reconcile.now()
    job = await stage.job(run_at=now.replace(year=now.year + 1), **await seconds_ago(stage, 30))
    await stage.redis.zadd(stage.keys.ready, {job.id: job.ready_score})
    assert await duty.run_once() == {"wrong_order": 1}
    located = await stage.where(job.id)
    assert (located.place, located.score) == ("delayed", job.run_at_ms)


async def test_a_lost_push_of_an_orphan_is_swept(stage: Stage, duty: RecentDuty | FullPass) -> None:
    job = await stage.job(**await seconds_ago(stage, 30))
    await stage.in_flight(job.id, seconds_ago=30)
    assert await duty.run_once() == {"stuck_inflight": 1}
    assert (await stage.where(job.id)).place == "delayed"


async def test_an_id_in_two_sets_with_a_claim_of_the_future_is_placed_anew(
    stage: Stage, duty: RecentDuty | FullPass
) -> None:
    """Found by seed 20 of the chaos suite: neither the claim grew old nor the other place due."""
    job = await stage.job(**await seconds_ago(stage, 30))
    for key in (stage.keys.inflight, stage.keys.delayed):
        await stage.redis.zadd(key, {job.id: job.ready_score})
    await stage.redis.zrem(stage.keys.ready, job.id)
    assert await duty.run_once() == {"stuck_inflight": 1}
    assert await stage.redis.zscore(stage.keys.inflight, job.id) is None
    assert await stage.redis.zscore(stage.keys.delayed, job.id) <= await stage.parts.queue.time_ms() + 60_000


async def test_c14_a_cancelled_job_leaves_redis(stage: Stage, duty: RecentDuty | FullPass) -> None:
    await stage.know_pool()
    job = await stage.job(state=JobState.CANCELLED, **await seconds_ago(stage, 30))
    await stage.redis.zadd(stage.keys.ready, {job.id: job.ready_score})
    assert await duty.run_once() == {"ghost": 1}
    assert (await stage.where(job.id)).place is None


async def test_the_recent_pass_goes_on_where_it_ended(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """More changes than one pass takes: the next pass takes the rest, and none is passed over."""
    monkeypatch.setattr(recent, "PAGE", 10)
    monkeypatch.setattr(recent, "MAX_PAGES", 2)
    jobs = [make_job(**await seconds_ago(stage, 60 - n)) for n in range(45)]
    await stage.store(*jobs)
    duty = RecentDuty(stage.parts, stage.mender)
    mended = 0
    for _ in range(4):
        mended += (await duty.run_once())["missing"]
    assert mended == len(jobs)
    assert set(await stage.held_ids()) == {job.id for job in jobs}


async def test_the_recent_pass_looks_again_after_a_failure(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await stage.job(**await seconds_ago(stage, 5))
    duty = RecentDuty(stage.parts, stage.mender)

    async def full(*_: object) -> int:
        raise RuntimeError("full")

    with monkeypatch.context() as patch:
        patch.setattr(stage.parts.queue, "enqueue", full)
        with pytest.raises(RuntimeError):
            await duty.run_once()
    assert await duty.run_once() == {"missing": 1}
    assert (await stage.where(job.id)).place == "ready"
    duty.begin_anew()
    assert await duty.run_once() == {}


async def test_the_full_pass_names_every_kind_and_is_silent_at_rest(stage: Stage) -> None:
    await stage.complete()
    missing = await stage.job()
    stuck = await stage.job()
    await stage.in_flight(stuck.id, seconds_ago=60)
    misplaced = await stage.job()
    await stage.redis.zadd(stage.keys.ready, {misplaced.id: 1})
    over = await stage.job(state=JobState.COMPLETED)
    await stage.redis.zadd(stage.keys.delayed, {over.id: 1})
    duty = FullPass(stage.parts, stage.pools, stage.mender)
    every_kind = {"missing": 1, "stuck_inflight": 1, "wrong_order": 1, "ghost": 1}
    assert await duty.run_once() == every_kind
    assert duty.drift_by_kind == every_kind
    assert await stage.held_ids() == {missing.id: "ready", misplaced.id: "ready", stuck.id: "delayed"}
    assert await duty.run_once() == {}
    assert duty.drift_by_kind == dict.fromkeys(every_kind, 0)


async def test_a_check_changes_nothing(stage: Stage) -> None:
    job = await stage.job()
    duty = FullPass(stage.parts, stage.pools, None)
    assert await duty.run_once() == {}
    assert duty.drift_by_kind["missing"] == 1
    assert (await stage.where(job.id)).place is None


async def test_the_full_pass_leaves_a_pool_that_is_not_complete_to_the_rebuild(stage: Stage) -> None:
    await stage.job()
    duty = FullPass(stage.parts, stage.pools, stage.mender)
    assert await duty.run_once() == {}
    assert sum(duty.drift_by_kind.values()) == 0


async def test_the_full_pass_gives_way_when_redis_is_lost_meanwhile(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would call every job missing and push what the rebuild pushes."""
    monkeypatch.setattr(full, "PAGE", 2)
    await stage.complete()
    jobs = [await stage.job() for _ in range(6)]
    await stage.enqueue(*jobs)
    locate, looks = stage.parts.queue.locate, []

    async def lose_after_the_first(pool: str, ids: Any) -> Any:
        looks.append(ids)
        found = await locate(pool, ids)
        await stage.redis.delete(stage.keys.epoch, stage.keys.ready)
        return found

    monkeypatch.setattr(stage.parts.queue, "locate", lose_after_the_first)
    duty = FullPass(stage.parts, stage.pools, stage.mender)
    assert await duty.run_once() == {}
    assert len(looks) == 1
    assert sum(duty.drift_by_kind.values()) == 0
    assert await stage.held_ids() == {}


async def test_the_full_pass_ends_early_when_it_is_told_to(stage: Stage) -> None:
    await stage.complete()
    await stage.job()
    ghost = await stage.job(state=JobState.COMPLETED)
    await stage.redis.zadd(stage.keys.ready, {ghost.id: 1})
    assert await FullPass(stage.parts, stage.pools, stage.mender, go_on=lambda: False).run_once() == {"missing": 1}


async def test_an_id_in_the_wrong_pool_leaves_it(stage: Stage) -> None:
    await stage.know_pool()
    await stage.complete()
    await stage.complete("other")
    job = await stage.job(pool="other")
    await stage.redis.zadd(stage.keys.ready, {job.id: 1})
    duty = FullPass(stage.parts, stage.pools, stage.mender)
    assert await duty.run_once() == {"ghost": 1, "missing": 1}
    assert (await stage.where(job.id)).place is None
    assert (await stage.where(job.id, "other")).place == "ready"


async def test_c10_a_ghost_is_removed_when_it_is_seen_a_second_time_ten_seconds_later(stage: Stage) -> None:
    await stage.know_pool()
    await stage.complete()
    ghost = make_job_id()
    await stage.redis.zadd(stage.keys.ready, {ghost: 1})
    now = 100.0
    suspects = Suspects(clock=lambda: now)
    stage.mender._suspects = suspects
    duty, ghosts = FullPass(stage.parts, stage.pools, stage.mender), GhostDuty(stage.parts, suspects)
    assert await duty.run_once() == {}
    assert duty.drift_by_kind["ghost"] == 1
    now += 9.9
    assert await ghosts.run_once() == {}
    assert (await stage.where(ghost)).place == "ready"
    now += 0.2
    assert await ghosts.run_once() == {"ghost": 1}
    assert (await stage.where(ghost)).place is None


async def test_c10_a_document_that_shows_up_clears_the_suspicion(stage: Stage) -> None:
    """The first look was at a primary that was behind."""
    now = 100.0
    suspects = Suspects(clock=lambda: now)
    job = make_job()
    await stage.enqueue(job)
    suspects.add("default", [job.id])
    await stage.store(job)
    now += 11
    assert await GhostDuty(stage.parts, suspects).run_once() == {}
    assert (await stage.where(job.id)).place == "ready"


async def test_hazard_27_one_forged_member_does_not_stop_the_batch(stage: Stage) -> None:
    await stage.complete()
    jobs = [await stage.job() for _ in range(3)]
    await stage.redis.zadd(stage.keys.ready, {"not an id \x00": 1, "../../etc": 2, "x" * 5000: 3})
    duty = FullPass(stage.parts, stage.pools, stage.mender)
    assert await duty.run_once() == {"missing": 3}
    assert set(await stage.held_ids()) == {job.id for job in jobs}
