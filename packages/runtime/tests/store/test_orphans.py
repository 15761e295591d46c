"""Orphans: found from the jobs, judged by a pure function, handed back only as they were read (A4, B3, hazard 11)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace.contracts.heartbeat import ExitRecord, Incarnation
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store.orphans import Orphan, OrphanDecision, decide_orphan
from headrace.runtime.store.values import Settlement

NOW = datetime(2025, 1, 1, tzinfo=UTC)
CRASHED = ExitRecord(kind="signal", signal=9)
JOB = "j1"


def dead(**fields: Any) -> Incarnation:
    basics: dict[str, Any] = {
        "id": "w", "service": "s", "host": "h", "pool": "p", "started_at": NOW, "lease_until": NOW, "dead_at": NOW,
        "exit": CRASHED, "running": (JOB,),
    }  # fmt: skip
    return Incarnation(**basics | fields)


BACK, FAIL = JobState.QUEUED, JobState.FAILED


@pytest.mark.parametrize(
    ("case", "owner", "crashes", "checkpoint_attempt", "expected"),
    [
        ("it was running", dead(), 0, None, OrphanDecision(BACK, Reason.ORPHANED, 1)),
        ("it had not started", dead(running=()), 2, None, OrphanDecision(BACK, Reason.ORPHANED, 2)),
        ("it had not started, others had", dead(running=("j2",)), 1, None, OrphanDecision(BACK, Reason.ORPHANED, 1)),
        ("another is to blame", dead(culprit="j2"), 2, None, OrphanDecision(BACK, Reason.ORPHANED, 2)),
        ("it is to blame", dead(culprit=JOB), 1, None, OrphanDecision(BACK, Reason.ORPHANED, 2)),
        ("it is to blame again", dead(culprit=JOB), 2, None, OrphanDecision(FAIL, Reason.CRASH_LOOP, 3)),
        ("the third time", dead(), 2, None, OrphanDecision(FAIL, Reason.CRASH_LOOP, 3)),
        ("it made headway", dead(), 2, 5, OrphanDecision(BACK, Reason.ORPHANED, 0)),
        ("an older attempt made headway", dead(), 2, 4, OrphanDecision(FAIL, Reason.CRASH_LOOP, 3)),
        ("a lost host", dead(running=None), 0, None, OrphanDecision(BACK, Reason.HOST_LOST, 1)),
        ("a lost host once more", dead(running=None), 2, None, OrphanDecision(FAIL, Reason.CRASH_LOOP, 3)),
        ("a lost host after headway", dead(running=None), 2, 5, OrphanDecision(BACK, Reason.HOST_LOST, 0)),
        ("an owner nobody knows", None, 0, None, OrphanDecision(BACK, Reason.HOST_LOST, 1)),
        (
            "an orderly end",
            dead(exit=ExitRecord(kind="graceful", code=0)),
            2,
            None,
            OrphanDecision(BACK, Reason.RELEASED, 2),
        ),
    ],
)
def test_an_orphan_is_judged_by_what_its_worker_was_doing(
    case: str, owner: Incarnation | None, crashes: int, checkpoint_attempt: int | None, expected: OrphanDecision
) -> None:
    orphan = Orphan(JOB, "p", 5, "w", "t", crashes, checkpoint_attempt, 0, 0)
    assert decide_orphan(orphan, owner, max_crashes=3) == expected, case


HOW = "worker child w on h "


@pytest.mark.parametrize(
    ("owner", "words"),
    [
        (dead(), HOW + "was ended by signal 9 (SIGKILL)"),
        (dead(exit=ExitRecord(kind="signal", signal=33)), HOW + "was ended by signal 33 (unknown)"),
        (dead(exit=ExitRecord(kind="code", code=3)), HOW + "ended with exit code 3"),
        (
            dead(exit=ExitRecord(kind="memory", signal=9, peak_rss_bytes=900 << 20), culprit=JOB),
            HOW + "was killed above its memory limit; peak memory 900 MiB; because of this job",
        ),
        (
            dead(exit=ExitRecord(kind="killed", signal=9), culprit="j2"),
            HOW + "was killed by its supervisor; because of another job",
        ),
        (dead(exit=None), HOW + "ended"),
        (dead(running=()), None),
        (dead(exit=ExitRecord(kind="lease"), running=None), HOW + "went silent; nobody saw how it ended"),
        (dead(exit=ExitRecord(kind="graceful", code=0)), None),
        (None, "its worker child is gone without a trace"),
    ],
)
def test_a_job_that_had_started_is_told_how_its_worker_ended(owner: Incarnation | None, words: str | None) -> None:
    orphan = Orphan(JOB, "p", 5, "w", "t", 0, None, 0, 0)
    assert decide_orphan(orphan, owner, max_crashes=3).death == words


async def register(kit: Any, name: str, *, running: tuple[str, ...] | None = None) -> None:
    await kit.incarnations.register(
        name, service="s", host="h", pool="default", types=["noop"], slots=1, version="1", lease_seconds=60
    )
    if running is not None:
        await kit.incarnations.mark_dead(name, exit_record=CRASHED, running=running)


async def orphans(kit: Any) -> list[Any]:
    return list(await kit.manager.orphans(kit.incarnations.collection, limit=100))


async def test_jobs_of_dead_and_of_unknown_owners_are_orphans_and_others_are_not(kit: Any) -> None:
    held = {name: await kit.running(owner=name, token=name) for name in ("alive", "dead", "unknown")}
    await kit.put()
    await register(kit, "alive")
    await register(kit, "dead", running=(held["dead"].id,))
    found = {orphan.job_id: (orphan, owner) for orphan, owner in await orphans(kit)}
    assert set(found) == {held["dead"].id, held["unknown"].id}
    orphan, owner = found[held["dead"].id]
    assert (orphan.attempt, orphan.owner, orphan.claim_token, orphan.pool) == (1, "dead", "dead", "default")
    assert (orphan.score, orphan.run_at_ms) == (held["dead"].ready_score, held["dead"].run_at_ms)
    assert owner.running == (held["dead"].id,)
    assert found[held["unknown"].id][1] is None


async def test_nothing_is_orphaned_while_everybody_lives(kit: Any) -> None:
    await register(kit, "w-own")
    await kit.running()
    assert await orphans(kit) == []


async def test_a4_a_claim_that_lands_after_its_owner_was_swept_is_found_by_the_next_pass(kit: Any) -> None:
    await register(kit, "w-own", running=())
    assert await orphans(kit) == []
    late = await kit.running()
    assert [orphan.job_id for orphan, _ in await orphans(kit)] == [late.id]


async def test_a_job_claimed_after_the_death_of_its_owner_is_no_reason_for_it(kit: Any) -> None:
    await register(kit, "w-own")
    before = await kit.running()
    await kit.incarnations.collection.update_one({"_id": "w-own"}, {"$set": {"lease_until": NOW}})
    assert await kit.incarnations.declare_lost("w-own", lease_until=NOW)
    await asyncio.sleep(0.01)  # the times are in milliseconds
    after = await kit.running(token="late")
    decisions = {orphan.job_id: decide_orphan(orphan, owner, max_crashes=1) for orphan, owner in await orphans(kit)}
    assert {job_id: (decision.to, decision.crashes) for job_id, decision in decisions.items()} == {
        before.id: (JobState.FAILED, 1),
        after.id: (JobState.QUEUED, 0),
    }


async def test_only_so_many_are_taken_at_once(kit: Any) -> None:
    for number in range(3):
        await kit.running(owner="unknown", token=f"t{number}")
    assert len(await kit.manager.orphans(kit.incarnations.collection, limit=2)) == 2


async def test_handing_back_counts_the_crash_and_names_owner_and_writer(kit: Any) -> None:
    job = await kit.running(owner="unknown")
    ((orphan, owner),) = await orphans(kit)
    decision = decide_orphan(orphan, owner, max_crashes=3)
    assert await kit.manager.hand_back(orphan, decision, by="recovery") is JobState.QUEUED
    stored = await kit.reads.job(job.id)
    entry = stored.log[-1]
    assert (stored.state, stored.crashes, stored.failures, stored.owner) == (JobState.QUEUED, 1, 0, None)
    assert (entry.owner, entry.by, entry.reason, entry.attempt) == ("unknown", "recovery", Reason.HOST_LOST, 1)
    assert await kit.manager.hand_back(orphan, decision, by="recovery") is None


async def test_a_crash_loop_ends_as_a_dead_letter_with_its_error(kit: Any) -> None:
    job = await kit.running(owner="unknown", crashes=2)
    ((orphan, owner),) = await orphans(kit)
    decision = decide_orphan(orphan, owner, max_crashes=3)
    assert await kit.manager.hand_back(orphan, decision, by="recovery") is JobState.FAILED
    stored = await kit.reads.job(job.id)
    assert (stored.state, stored.crashes, stored.error.type) == (JobState.FAILED, 3, "crash_loop")
    assert stored.errors == (stored.error,)
    assert stored.error.message.endswith("; the last time: its worker child is gone without a trace")
    assert stored.error.fingerprint == "crash_loop"


async def test_crash_forensics_stand_with_the_job_that_had_started(kit: Any) -> None:
    job, bystander = await kit.running(owner="w-1"), await kit.running(owner="w-1", token="t2")
    await register(kit, "w-1")
    record = ExitRecord(kind="signal", signal=11, peak_rss_bytes=123 << 20)
    await kit.incarnations.mark_dead("w-1", exit_record=record, running=[job.id])
    for orphan, owner in await orphans(kit):
        await kit.manager.hand_back(orphan, decide_orphan(orphan, owner, max_crashes=3), by="recovery")
    stored = await kit.reads.job(job.id)
    (error,) = stored.errors
    assert (error.type, error.fingerprint, stored.error) == ("worker_died", "worker_died", None)
    assert error.message == "worker child w-1 on h was ended by signal 11 (SIGSEGV); peak memory 123 MiB"
    assert (await kit.reads.job(bystander.id)).errors == ()


async def test_a_cancel_that_nobody_could_honour_is_finished_by_the_hand_back(kit: Any) -> None:
    job = await kit.running(owner="unknown", crashes=2)
    await kit.manager.cancel(job.id, by="api")
    ((orphan, owner),) = await orphans(kit)
    decision = decide_orphan(orphan, owner, max_crashes=3)
    assert await kit.manager.hand_back(orphan, decision, by="recovery") is JobState.CANCELLED
    stored = await kit.reads.job(job.id)
    assert (stored.state, stored.error) == (JobState.CANCELLED, None)
    assert stored.log[-1].reason is Reason.CANCELLED


@pytest.mark.parametrize("meanwhile", ["completed", "claimed again", "handed back"])
async def test_hazard_11_a_stale_orphan_changes_nothing(kit: Any, meanwhile: str) -> None:
    job = await kit.running(owner="unknown")
    ((orphan, owner),) = await orphans(kit)
    to = JobState.COMPLETED if meanwhile == "completed" else JobState.QUEUED
    await kit.manager.settle([Settlement(job.id, 1, to, Reason.COMPLETED)], by="unknown")
    if meanwhile == "claimed again":
        await kit.manager.claim([job.id], token="t2", owner="w2", types=["noop"])
    before = kit.document(job.id)
    assert await kit.manager.hand_back(orphan, decide_orphan(orphan, owner, max_crashes=3), by="recovery") is None
    assert kit.document(job.id) == before


@pytest.mark.parametrize(("started", "kept"), [(True, False), (False, True)])
async def test_an_orphan_that_had_started_in_time_does_not_expire_later(
    kit: Any, now: datetime, started: bool, kept: bool
) -> None:
    soon = now + timedelta(minutes=5)
    job = await kit.running(expires_at=soon)
    await register(kit, "w-own", running=(job.id,) if started else ())
    ((orphan, owner),) = await orphans(kit)
    await kit.manager.hand_back(orphan, decide_orphan(orphan, owner, max_crashes=3), by="recovery")
    assert (await kit.reads.job(job.id)).expires_at == (soon if kept else None)
