"""Cancels: one update decides, and what was answered stays true."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace.contracts.errors import NotFoundError
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store.values import CancelVerdict, Settlement, SettleVerdict


@pytest.mark.parametrize(
    ("state", "verdict", "after"),
    [
        (JobState.QUEUED, CancelVerdict.CANCELLED, JobState.CANCELLED),
        (JobState.PROCESSING, CancelVerdict.REQUESTED, JobState.PROCESSING),
        (JobState.CANCELLED, CancelVerdict.ALREADY_CANCELLED, JobState.CANCELLED),
        (JobState.COMPLETED, CancelVerdict.ALREADY_OVER, JobState.COMPLETED),
        (JobState.FAILED, CancelVerdict.ALREADY_OVER, JobState.FAILED),
    ],
)
async def test_a_cancel_answers_by_the_state_it_found(
    kit: Any, state: JobState, verdict: CancelVerdict, after: JobState
) -> None:
    placed = kit.place(state)
    job, found = await kit.manager.cancel(placed.id, by="api")
    assert (found, job.state, job.id) == (verdict, after, placed.id)
    assert await kit.reads.job(placed.id) == job


async def test_a_waiting_job_ends_with_one_entry_that_names_who_cancelled_it(kit: Any) -> None:
    placed = kit.place(JobState.QUEUED, unique_key="u")
    job, _ = await kit.manager.cancel(placed.id, by="$api")
    entry = job.log[-1]
    assert (entry.from_, entry.to, entry.reason, entry.by) == (
        JobState.QUEUED, JobState.CANCELLED, Reason.CANCELLED, "$api",
    )  # fmt: skip
    assert job.log[:-1] == placed.log
    assert job.finished_at == job.cancel_requested_at == entry.at


async def test_a_running_job_keeps_everything_but_the_request(kit: Any) -> None:
    placed = kit.place(JobState.PROCESSING)
    before = kit.document(placed.id)
    job, _ = await kit.manager.cancel(placed.id, by="api")
    after = kit.document(placed.id)
    assert after.pop("cancel_requested_at") is not None
    assert after == before
    assert job.owner == "w-own"


async def test_the_first_request_counts_and_repeats_change_nothing(kit: Any) -> None:
    placed = kit.place(JobState.PROCESSING)
    await kit.manager.cancel(placed.id, by="api")
    before = kit.document(placed.id)
    _, found = await kit.manager.cancel(placed.id, by="api")
    assert found is CancelVerdict.REQUESTED
    assert kit.document(placed.id) == before


async def test_what_does_not_exist_for_a_tenant_cannot_be_cancelled_by_it(kit: Any) -> None:
    job = await kit.put(tenant="t1")
    for job_id, tenant in [("no-such-job", None), (job.id, "t2"), (job.id, "")]:
        with pytest.raises(NotFoundError):
            await kit.manager.cancel(job_id, tenant=tenant, by="api")
    assert (await kit.manager.cancel(job.id, tenant="t1", by="api"))[1] is CancelVerdict.CANCELLED


async def test_after_a_cancel_nobody_claims_the_job(kit: Any) -> None:
    job = await kit.put()
    await kit.manager.cancel(job.id, by="api")
    assert await kit.manager.claim([job.id], token="t", owner="w", types=["noop"]) == []


async def test_of_a_cancel_and_a_completion_at_once_exactly_one_wins(kit: Any) -> None:
    for _ in range(10):
        job = await kit.running()
        done = Settlement(job.id, 1, JobState.COMPLETED, Reason.COMPLETED, result="1")
        (_, cancel), (settled,) = await asyncio.gather(
            kit.manager.cancel(job.id, by="api"), kit.manager.settle([done], by="w-own")
        )
        stored = await kit.reads.job(job.id)
        if cancel is CancelVerdict.REQUESTED:
            assert (settled.verdict, stored.state, stored.result) == (SettleVerdict.CANCELLED, JobState.CANCELLED, None)
        else:
            assert (cancel, settled.verdict) == (CancelVerdict.ALREADY_OVER, SettleVerdict.APPLIED)
            assert (stored.state, stored.cancel_requested_at) == (JobState.COMPLETED, None)
        assert sum(entry.to.is_terminal for entry in stored.log) == 1


async def test_the_audit_of_own_jobs_shows_the_request(kit: Any) -> None:
    asked, other = await kit.running(token="t1"), await kit.running(token="t2")
    await kit.running(owner="somebody-else", token="t3")
    await kit.manager.cancel(asked.id, by="api")
    owned = {item.job_id: item for item in await kit.manager.owned("w-own")}
    assert {job_id: item.cancel_requested for job_id, item in owned.items()} == {asked.id: True, other.id: False}
    assert (owned[other.id].attempt, owned[other.id].claim_token) == (1, "t2")
    assert owned[other.id].score == other.ready_score
