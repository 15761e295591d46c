"""Settlements in bulk: one answer each, own writes recognised, the replies of the server lost (B9, hazard 15)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from headrace.contracts.errors import OutcomeUnknownError
from headrace.contracts.job import JobError
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store import faults, state_settle
from headrace.runtime.store.values import Settled, Settlement, SettleVerdict

WAIT_FAILED = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}


def completed(job: Any, **more: Any) -> Settlement:
    return Settlement(job.id, job.attempt, JobState.COMPLETED, Reason.COMPLETED, **more)


def retried(job: Any, **more: Any) -> Settlement:
    return Settlement(job.id, job.attempt, JobState.QUEUED, Reason.RETRY, counts_failure=True, **more)


def terminal_entries(kit: Any, job_id: str) -> int:
    return sum(entry["to"] in {"completed", "failed", "cancelled"} for entry in kit.document(job_id)["log"])


async def test_every_settlement_of_a_bulk_is_answered_for_itself_in_order(kit: Any) -> None:
    jobs = [await kit.running(token=f"t{n}") for n in range(5)]
    await kit.manager.cancel(jobs[1].id, by="api")
    await kit.manager.settle(
        [Settlement(jobs[2].id, 1, JobState.QUEUED, Reason.ORPHANED)], by="recovery", owner="w-own"
    )
    gone = jobs[4].evolve(id="no-such-job")
    asked = [
        completed(jobs[0]),
        completed(jobs[1]),
        completed(jobs[2]),
        retried(jobs[3], delay_ms=5000),
        completed(gone),
    ]
    answers = await kit.manager.settle(asked, by="w-own")
    assert [(answer.verdict, answer.state) for answer in answers] == [
        (SettleVerdict.APPLIED, JobState.COMPLETED),
        (SettleVerdict.CANCELLED, JobState.CANCELLED),
        (SettleVerdict.FENCED, None),
        (SettleVerdict.APPLIED, JobState.QUEUED),
        (SettleVerdict.FENCED, None),
    ]


async def test_nothing_to_settle_is_no_work(kit: Any) -> None:
    assert await kit.manager.settle([], by="w") == []
    assert kit.commands == []


async def test_results_that_all_land_need_one_call_to_the_server(kit: Any) -> None:
    jobs = [await kit.running(token=f"t{n}") for n in range(3)]
    kit.commands.clear()
    answers = await kit.manager.settle([completed(job, result="1") for job in jobs], by="w-own")
    assert answers == [Settled(SettleVerdict.APPLIED, JobState.COMPLETED)] * 3
    assert [next(iter(command)) for command in kit.commands] == ["update"]


async def test_a_retry_is_due_later_by_the_servers_clock_and_says_where_it_belongs(kit: Any, now: datetime) -> None:
    job = await kit.running()
    (answer,) = await kit.manager.settle([retried(job, delay_ms=60_000)], by="w-own")
    stored = await kit.reads.job(job.id)
    assert (answer.score, answer.run_at_ms) == (stored.ready_score, stored.run_at_ms)
    assert timedelta(seconds=55) < stored.run_at - now < timedelta(seconds=90)
    assert (stored.failures, stored.crashes, stored.state) == (1, 0, JobState.QUEUED)


async def test_a_release_costs_nothing_and_is_due_as_before(kit: Any) -> None:
    job = await kit.running()
    (answer,) = await kit.manager.settle([Settlement(job.id, 1, JobState.QUEUED, Reason.RELEASED)], by="w-own")
    stored = await kit.reads.job(job.id)
    assert (stored.failures, stored.crashes, stored.run_at) == (0, 0, job.run_at)
    assert answer.run_at_ms == job.run_at_ms
    assert stored.started_at is None


async def test_when_an_attempt_began_is_fixed_once(kit: Any) -> None:
    job = await kit.running()
    await kit.manager.save_progress(job.id, 1, "w-own", fraction=0.1, message="", started_ms_ago=10_000)
    began = (await kit.reads.job(job.id)).started_at
    await kit.manager.settle([completed(job, started_ms_ago=1)], by="w-own")
    stored = await kit.reads.job(job.id)
    assert stored.started_at == began < stored.finished_at


async def test_the_last_ten_errors_are_kept_and_user_texts_never_act(kit: Any, now: datetime) -> None:
    job = await kit.put()
    for number in range(1, 13):
        (claimed,) = await kit.manager.claim([job.id], token=f"$t{number}", owner="$w.x", types=["noop"])
        error = JobError(type="$type", message=f"$message {number}", fingerprint="$a.b", at=now)
        await kit.manager.settle([retried(claimed, error=error)], by="$w.x")
    stored = await kit.reads.job(job.id)
    assert [error.message for error in stored.errors] == [f"$message {number}" for number in range(3, 13)]
    assert stored.error == stored.errors[-1]
    assert (stored.error.type, stored.error.fingerprint) == ("$type", "$a.b")
    assert {entry.by for entry in stored.log[1:]} == {"$w.x"}


@pytest.mark.parametrize(
    "text", ['"$result"', '{"$set": {"a.b": 1}}', '{"n": 123456789012345678901234567890.10}', "$$NOW"]
)
async def test_results_and_checkpoints_are_kept_digit_for_digit(kit: Any, text: str) -> None:
    job = await kit.running(payload=text)
    await kit.manager.save_checkpoint(job.id, 1, "w-own", text, started_ms_ago=None)
    await kit.manager.save_progress(job.id, 1, "w-own", fraction=1, message=text, started_ms_ago=None)
    await kit.manager.settle([completed(job, result=text)], by="w-own")
    stored = await kit.reads.job(job.id)
    assert (stored.payload, stored.checkpoint, stored.result, stored.progress.message) == (text,) * 4
    assert stored.checkpoint_attempt == 1


async def test_a_settlement_brings_the_last_progress_along(kit: Any) -> None:
    job = await kit.running()
    await kit.manager.settle([completed(job, progress=(1.0, "$all"))], by="w-own")
    stored = await kit.reads.job(job.id)
    assert (stored.progress.fraction, stored.progress.message) == (1.0, "$all")


@pytest.mark.parametrize("make", [completed, retried])
async def test_the_same_settlement_again_is_recognised_as_our_own(kit: Any, make: Any) -> None:
    job = await kit.running()
    first = await kit.manager.settle([make(job)], by="w-own")
    before = kit.document(job.id)
    again = await kit.manager.settle([make(job)], by="w-own")
    assert [(answer.verdict, answer.state) for answer in again] == [(first[0].verdict, first[0].state)]
    assert kit.document(job.id) == before


async def test_our_own_retry_is_recognised_also_after_the_next_worker_took_the_job(kit: Any) -> None:
    job = await kit.running()
    await kit.manager.settle([retried(job)], by="w-own")
    await kit.manager.claim([job.id], token="t2", owner="w2", types=["noop"])
    before = kit.document(job.id)
    (answer,) = await kit.manager.settle([retried(job)], by="w-own")
    assert (answer.verdict, answer.state) == (SettleVerdict.APPLIED, JobState.QUEUED)
    assert kit.document(job.id) == before


async def test_what_a_supervisor_wrote_for_its_child_is_not_the_childs_own_write(kit: Any) -> None:
    job = await kit.running()
    timeout = Settlement(job.id, 1, JobState.FAILED, Reason.TIMEOUT, counts_failure=True)
    (mine,) = await kit.manager.settle([timeout], by="supervisor", owner="w-own")
    (again,) = await kit.manager.settle([timeout], by="supervisor", owner="w-own")
    (childs,) = await kit.manager.settle([completed(job)], by="w-own")
    assert (mine.verdict, again.verdict, childs.verdict) == (
        SettleVerdict.APPLIED,
        SettleVerdict.APPLIED,
        SettleVerdict.FENCED,
    )
    assert (await kit.reads.job(job.id)).log[-1].owner == "w-own"


async def test_a_settlement_whose_majority_wait_failed_is_unknown_and_recognised_when_sent_again(kit: Any) -> None:
    jobs = [await kit.running(token=f"t{n}") for n in range(2)]
    asked = [completed(jobs[0], result="1"), retried(jobs[1], delay_ms=1)]
    with kit.failing("update", times=1, **WAIT_FAILED), pytest.raises(OutcomeUnknownError):
        await kit.manager.settle(asked, by="w-own")
    answers = await kit.manager.settle(asked, by="w-own")
    assert [answer.verdict for answer in answers] == [SettleVerdict.APPLIED] * 2
    assert [terminal_entries(kit, job.id) for job in jobs] == [1, 0]
    assert (await kit.reads.job(jobs[1].id)).failures == 1


async def test_a_settlement_that_never_arrived_is_unknown_and_lands_when_sent_again(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await kit.running()
    with monkeypatch.context() as patch, kit.failing("update", closeConnection=True):
        patch.setattr(state_settle, "writing", lambda what: faults.writing(what, seconds=1))
        with pytest.raises(OutcomeUnknownError):
            await kit.manager.settle([completed(job)], by="w-own")
    assert kit.document(job.id)["state"] == "processing"
    (answer,) = await kit.manager.settle([completed(job)], by="w-own")
    assert answer.verdict is SettleVerdict.APPLIED


async def test_a_settlement_that_does_not_land_although_it_should_is_never_called_applied(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await kit.running()
    read = kit.manager._settled_documents

    async def before_it_landed(settlements: Any) -> Any:
        return {
            job_id: document | {"state": "processing", "owner": "w-own"}
            for job_id, document in (await read(settlements)).items()
        }

    monkeypatch.setattr(kit.manager, "_settled_documents", before_it_landed)
    with pytest.raises(OutcomeUnknownError, match="not applied"):
        await kit.manager.settle([retried(job)], by="w-own")


@pytest.mark.parametrize(
    ("to", "kept"), [(JobState.COMPLETED, True), (JobState.FAILED, False), (JobState.CANCELLED, True)]
)
async def test_only_an_end_sets_when_a_document_may_go_and_dead_letters_stay(
    kit: Any, to: JobState, kept: bool
) -> None:
    job = await kit.running()
    assert "expire_at" not in kit.document(job.id)
    await kit.manager.settle([retried(job)], by="w-own")
    assert "expire_at" not in kit.document(job.id)
    (claimed,) = await kit.manager.claim([job.id], token="t2", owner="w-own", types=["noop"])
    if to is JobState.CANCELLED:
        await kit.manager.cancel(job.id, by="api")
    end = JobState.COMPLETED if to is JobState.CANCELLED else to
    await kit.manager.settle([Settlement(job.id, claimed.attempt, end, Reason.COMPLETED)], by="w-own")
    document = kit.document(job.id)
    assert document["state"] == to.value
    assert ("expire_at" in document) is kept
    if kept:
        assert document["expire_at"] - document["finished_at"] == timedelta(days=2)
