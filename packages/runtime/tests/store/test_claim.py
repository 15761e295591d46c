"""Claims: what may be taken, in which order, and what becomes of the rest."""

from __future__ import annotations

import asyncio
import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest

from headrace.contracts.job import Priority
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store.values import Place, Settlement
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually

CASES = list(itertools.product(JobState, ["noop", "foreign"], [True, False], [True, False], [True, False]))


def ids(jobs: list[Any]) -> list[str]:
    return [job.id for job in jobs]


async def take(kit: Any, *job_ids: str, token: str = "t", owner: str = "w", types: tuple[str, ...] = ("noop",)) -> Any:
    return await kit.manager.claim(list(job_ids), token=token, owner=owner, types=types)


async def test_a_job_is_claimed_exactly_when_it_waits_is_due_is_known_and_nobody_cancelled_it(
    kit: Any, now: datetime
) -> None:
    hour = timedelta(hours=1)
    wanted, others = [], []
    for state, kind, due, expired, cancelled in CASES:
        job = kit.place(
            state,
            cancel_requested=cancelled,
            type=kind,
            run_at=now - hour if due else now + hour,
            expires_at=now - hour if expired else now + hour,
        )
        yes = state is JobState.QUEUED and kind == "noop" and due and not expired and not cancelled
        (wanted if yes else others).append(job.id)
    before = {job_id: kit.document(job_id) for job_id in others}
    assert ids(await take(kit, *wanted, *others)) == wanted
    assert {job_id: kit.document(job_id) for job_id in others} == before


async def test_a_payload_newer_than_its_type_s_version_is_not_claimed_and_costs_nothing(kit: Any) -> None:
    old, same, newer, other = [
        await kit.put(type=kind, contract_version=version)
        for kind, version in (("noop", 1), ("noop", 2), ("noop", 3), ("free", 9))
    ]
    all_ids = ids([old, same, newer, other])
    claimed = await kit.manager.claim(all_ids, token="t", owner="w", types=["noop", "free"], versions={"noop": 2})
    assert set(ids(claimed)) == {old.id, same.id, other.id}
    stored = await kit.reads.job(newer.id)
    assert (stored.state, stored.attempt, len(stored.log)) == (JobState.QUEUED, 0, 1)
    (place,) = await kit.manager.places([newer.id])
    assert (place.type, place.contract_version, place.due) == ("noop", 3, True)


async def test_a_claim_raises_the_attempt_by_one_and_names_owner_token_and_time(kit: Any, now: datetime) -> None:
    placed = kit.place(JobState.QUEUED, started_at=now)
    (job,) = await take(kit, placed.id, token="$t", owner="$w")
    assert (job.state, job.attempt, job.owner, job.claim_token) == (JobState.PROCESSING, 2, "$w", "$t")
    assert job.started_at is None
    assert abs(job.claimed_at - now) < timedelta(seconds=30)
    stored = await kit.reads.job(job.id)
    assert stored.log[:-1] == placed.log
    entry = stored.log[-1]
    assert (entry.seq, entry.from_, entry.to, entry.attempt) == (3, JobState.QUEUED, JobState.PROCESSING, 2)
    assert (entry.owner, entry.by, entry.reason) == ("$w", "$w", Reason.CLAIMED)


async def test_claimed_jobs_come_in_claim_order_whatever_the_order_of_the_ids(kit: Any, now: datetime) -> None:
    jobs = [
        await kit.put(priority=priority, created_at=now + timedelta(seconds=age))
        for priority, age in [(Priority.LOW, 0), (Priority.MEDIUM, 5), (Priority.HIGH, 9), (Priority.MEDIUM, 1)]
    ]
    boosted = await kit.put(priority=Priority.LOW, created_at=now - timedelta(seconds=5), boosted_at=now)
    claimed = await take(kit, *ids(jobs), boosted.id)
    assert ids(claimed) == [boosted.id, jobs[2].id, jobs[3].id, jobs[1].id, jobs[0].id]


async def test_only_one_of_many_gets_a_job(kit: Any) -> None:
    jobs = [await kit.put() for _ in range(5)]
    answers = await asyncio.gather(
        *(kit.manager.claim(ids(jobs), token=f"t{n}", owner=f"w{n}", types=["noop"]) for n in range(8))
    )
    taken = [job.id for answer in answers for job in answer]
    assert sorted(taken) == sorted(ids(jobs))
    assert all(kit.document(job.id)["attempt"] == 1 for job in jobs)


async def test_a_claim_is_found_again_by_its_token_without_bodies_that_a_worker_does_not_need(kit: Any) -> None:
    job = await kit.running(payload='{"a": 1}')
    (found,) = await kit.manager.claimed(token="token-own", owner="w-own")
    assert (found.id, found.attempt, found.payload) == (job.id, 1, '{"a": 1}')
    assert found.log == ()


async def test_a2_a_token_finds_no_job_that_was_taken_away(kit: Any) -> None:
    revoked, over, claimed_again = [await kit.put() for _ in range(3)]
    await take(kit, revoked.id, over.id, claimed_again.id)
    await kit.manager.settle([Settlement(revoked.id, 1, JobState.QUEUED, Reason.ORPHANED)], by="recovery", owner="w")
    await kit.manager.cancel(over.id, by="api")
    await kit.manager.settle([Settlement(over.id, 1, JobState.QUEUED, Reason.ORPHANED)], by="recovery", owner="w")
    await kit.manager.settle(
        [Settlement(claimed_again.id, 1, JobState.QUEUED, Reason.ORPHANED)], by="recovery", owner="w"
    )
    await take(kit, claimed_again.id, token="t2", owner="w2")
    assert await kit.manager.claimed(token="t", owner="w") == []


async def test_a2_a_token_finds_nothing_of_another_owner(kit: Any) -> None:
    await kit.running()
    assert await kit.manager.claimed(token="token-own", owner="somebody-else") == []
    assert await kit.manager.claimed(token="another", owner="w-own") == []


async def test_refused_ids_are_told_where_they_belong(kit: Any, now: datetime) -> None:
    hour = timedelta(hours=1)
    waiting = kit.place(JobState.QUEUED, type="foreign")
    later = kit.place(JobState.QUEUED, run_at=now + hour)
    stale = kit.place(JobState.QUEUED, expires_at=now - hour)
    running = kit.place(JobState.PROCESSING)
    done = kit.place(JobState.COMPLETED)
    places = await kit.manager.places([waiting.id, "no-such-id", later.id, stale.id, running.id, done.id])
    assert [place.job_id for place in places] == [waiting.id, "no-such-id", later.id, stale.id, running.id, done.id]
    first, none, second, third, fourth, fifth = places
    assert (first.state, first.due, first.expired, first.type) == (JobState.QUEUED, True, False, "foreign")
    assert first.score == waiting.ready_score
    assert none == Place("no-such-id", None)
    assert (second.due, second.run_at_ms) == (False, later.run_at_ms)
    assert third.expired
    assert (fourth.state, fourth.owner, fourth.claim_token) == (JobState.PROCESSING, "w-own", "token-own")
    assert (fifth.state, fifth.owner) == (JobState.COMPLETED, None)


async def test_no_ids_have_no_places(kit: Any) -> None:
    assert await kit.manager.places([]) == []
    assert await take(kit) == []


async def test_only_waiting_jobs_that_had_to_start_by_now_expire(kit: Any, now: datetime) -> None:
    hour = timedelta(hours=1)
    late = [kit.place(state, expires_at=now - hour) for state in JobState]
    early = [kit.place(JobState.QUEUED, expires_at=now + hour), kit.place(JobState.QUEUED)]
    before = {job.id: kit.document(job.id) for job in [*late[1:], *early]}
    assert await kit.reads.expired_ids() == [("default", late[0].id)]
    assert await kit.manager.expire(ids([*late, *early])) == 1
    assert {job_id: kit.document(job_id) for job_id in before} == before
    job = await kit.reads.job(late[0].id)
    assert (job.state, job.error.type, job.errors) == (JobState.FAILED, "expired", (job.error,))
    assert (job.log[-1].reason, job.log[-1].by, job.owner) == (Reason.EXPIRED, "expiry", None)
    assert await kit.reads.expired_ids() == []


async def test_a_job_that_was_started_in_time_does_not_expire_later(kit: Any, now: datetime) -> None:
    soon = now + timedelta(minutes=5)
    failed = await kit.running(expires_at=soon)
    await kit.manager.settle([Settlement(failed.id, 1, JobState.QUEUED, Reason.RETRY, counts_failure=True)], by="w-own")
    stopped = await kit.running(expires_at=soon)
    await kit.manager.settle(
        [Settlement(stopped.id, 1, JobState.QUEUED, Reason.RELEASED, started_ms_ago=5)], by="w-own"
    )
    untouched = await kit.running(expires_at=soon)
    await kit.manager.settle([Settlement(untouched.id, 1, JobState.QUEUED, Reason.RELEASED)], by="w-own")
    assert (await kit.reads.job(failed.id)).expires_at is None
    assert (await kit.reads.job(stopped.id)).expires_at is None
    assert (await kit.reads.job(untouched.id)).expires_at == soon


async def test_a_claim_whose_caller_gave_up_is_applied_and_found_by_its_token(kit: Any) -> None:
    job = await kit.put()
    with kit.failing("update", times=1, blockConnection=True, blockTimeMS=300):
        claim = asyncio.create_task(take(kit, job.id))
        await eventually(lambda: [command for command in kit.commands if "update" in command])
        claim.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claim
    (found,) = await eventually(lambda: kit.manager.claimed(token="t", owner="w"))
    assert (found.id, found.attempt) == (job.id, 1)


async def test_a_claim_asks_the_server_to_give_up_in_time(kit: Any) -> None:
    await take(kit, (await kit.put()).id)
    limits = [command["maxTimeMS"] for command in kit.commands if "update" in command]
    assert all(0 < limit <= 5000 for limit in limits)
    assert limits


def test_the_builder_makes_claimable_jobs() -> None:
    assert make_job().state is JobState.QUEUED
