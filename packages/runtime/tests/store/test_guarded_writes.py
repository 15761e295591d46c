"""Every state change against every state and every holder: state before, one command, state after.

A3, A6, A7 and hazards 7, 11: what is not this attempt's own changes nothing, and an accepted cancel wins.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace.contracts.errors import JobCancelled, LeaseLost
from headrace.contracts.states import JobState, Reason, is_legal
from headrace.runtime.store.orphans import Orphan, OrphanDecision
from headrace.runtime.store.values import Settlement, SettleVerdict

HOLDERS = {
    "own": (2, "w-own"),
    "older": (1, "w-own"),
    "newer": (3, "w-own"),
    "foreign": (2, "w-other"),
    "older foreign": (1, "w-other"),
}
Command = Callable[[Any, str, int, str], Awaitable[Any]]


def settling(to: JobState, reason: Reason, **more: Any) -> Command:
    async def settle(kit: Any, job_id: str, attempt: int, owner: str) -> Any:
        settlement = Settlement(job_id, attempt, to, reason, started_ms_ago=5, **more)
        (settled,) = await kit.manager.settle([settlement], by=owner)
        return settled.verdict

    return settle


def handing_back(to: JobState, reason: Reason) -> Command:
    async def hand_back(kit: Any, job_id: str, attempt: int, owner: str) -> Any:
        orphan = Orphan(job_id, "default", attempt, owner, "", 0, None, 0, 0)
        return await kit.manager.hand_back(orphan, OrphanDecision(to, reason, 1), by="recovery")

    return hand_back


async def save_progress(kit: Any, job_id: str, attempt: int, owner: str) -> Any:
    await kit.manager.save_progress(job_id, attempt, owner, fraction=0.5, message="$half", started_ms_ago=5)


async def save_checkpoint(kit: Any, job_id: str, attempt: int, owner: str) -> Any:
    await kit.manager.save_checkpoint(job_id, attempt, owner, '{"$set": 1}', started_ms_ago=5)


LEAVING: dict[str, tuple[Command, JobState]] = {
    "complete": (settling(JobState.COMPLETED, Reason.COMPLETED, result='"$done"'), JobState.COMPLETED),
    "fail": (settling(JobState.FAILED, Reason.FAILED, counts_failure=True), JobState.FAILED),
    "time out": (settling(JobState.FAILED, Reason.TIMEOUT, counts_failure=True), JobState.FAILED),
    "retry": (settling(JobState.QUEUED, Reason.RETRY, counts_failure=True, delay_ms=9000), JobState.QUEUED),
    "release": (settling(JobState.QUEUED, Reason.RELEASED), JobState.QUEUED),
    "hand back": (handing_back(JobState.QUEUED, Reason.ORPHANED), JobState.QUEUED),
    "crash loop": (handing_back(JobState.FAILED, Reason.CRASH_LOOP), JobState.FAILED),
}
SAVING: dict[str, Command] = {"progress": save_progress, "checkpoint": save_checkpoint}
EVERY = list(itertools.product(JobState, [False, True], HOLDERS))


def check_left(kit: Any, before: dict[str, Any], to: JobState) -> None:
    after = kit.document(before["_id"])
    assert after["state"] == to.value
    assert is_legal(JobState(before["state"]), to)
    assert "owner" not in after
    assert "claim_token" not in after
    assert after["attempt"] == before["attempt"]
    assert after["log"][:-1] == before["log"]
    entry = after["log"][-1]
    assert (entry["seq"], entry["from"], entry["to"]) == (len(before["log"]), before["state"], to.value)
    assert (entry["attempt"], entry["owner"]) == (before["attempt"], before["owner"])
    assert ("finished_at" in after) is to.is_terminal
    assert ("expire_at" in after) is (to in {JobState.COMPLETED, JobState.CANCELLED})
    assert ("result" in after) is (to is JobState.COMPLETED)


@pytest.mark.parametrize("command", LEAVING)
async def test_an_attempt_leaves_processing_only_by_its_own_holder_and_an_accepted_cancel_wins(
    kit: Any, command: str
) -> None:
    act, target = LEAVING[command]
    for state, cancelled, holder in EVERY:
        job = kit.place(state, cancel_requested=cancelled)
        before = kit.document(job.id)
        answer = await act(kit, job.id, *HOLDERS[holder])
        case = f"{state} {cancelled=} {holder}"
        if state is JobState.PROCESSING and holder == "own":
            check_left(kit, before, JobState.CANCELLED if cancelled else target)
            if cancelled:
                assert answer in {SettleVerdict.CANCELLED, JobState.CANCELLED}, case
            else:
                assert answer in {SettleVerdict.APPLIED, target}, case
        else:
            assert kit.document(job.id) == before, case
            assert answer in {SettleVerdict.FENCED, None}, case


@pytest.mark.parametrize("command", SAVING)
async def test_a6_only_the_attempt_under_way_saves_and_not_once_a_cancel_was_accepted(kit: Any, command: str) -> None:
    for state, cancelled, holder in EVERY:
        job = kit.place(state, cancel_requested=cancelled)
        before = kit.document(job.id)
        case = f"{state} {cancelled=} {holder}"
        own = state is JobState.PROCESSING and holder == "own"
        if own and not cancelled:
            await SAVING[command](kit, job.id, *HOLDERS[holder])
            after = kit.document(job.id)
            changed = {name for name in after if after[name] != before.get(name)}
            expected = {"progress"} if command == "progress" else {"checkpoint", "checkpoint_at", "checkpoint_attempt"}
            assert changed == expected | {"started_at"}, case
            continue
        with pytest.raises(JobCancelled if own else LeaseLost):
            await SAVING[command](kit, job.id, *HOLDERS[holder])
        assert kit.document(job.id) == before, case


ANYBODY: dict[str, tuple[Callable[[Any, str], Awaitable[Any]], set[JobState]]] = {
    "claim": (lambda kit, id_: kit.manager.claim([id_], token="t", owner="w", types=["noop"]), {JobState.QUEUED}),
    "cancel": (lambda kit, id_: kit.manager.cancel(id_, by="api"), {JobState.QUEUED, JobState.PROCESSING}),
    "expire": (lambda kit, id_: kit.manager.expire([id_]), set()),
    "mark unindexed": (lambda kit, id_: kit.manager.mark_unindexed([id_]), {JobState.QUEUED}),
    "mark indexed": (lambda kit, id_: kit.manager.mark_indexed([id_]), set()),
    "insert": (lambda kit, id_: kit.manager.insert([kit.place(JobState.QUEUED).evolve(id=id_)]), set()),
}


@pytest.mark.parametrize("command", ANYBODY)
@pytest.mark.parametrize("state", JobState)
async def test_what_anybody_may_ask_for_changes_only_the_states_it_is_meant_for(
    kit: Any, command: str, state: JobState
) -> None:
    act, states = ANYBODY[command]
    job = kit.place(state)
    before = kit.document(job.id)
    await act(kit, job.id)
    assert (kit.document(job.id) != before) is (state in states)


async def test_a7_the_same_attempt_of_another_owner_is_another_attempt(kit: Any) -> None:
    """After a rollback two workers may both hold "attempt 2"; only the one the document names may write."""
    job = kit.place(JobState.PROCESSING, owner="w-second")
    before = kit.document(job.id)
    for act, _ in LEAVING.values():
        await act(kit, job.id, 2, "w-first")
    for save in SAVING.values():
        with pytest.raises(LeaseLost):
            await save(kit, job.id, 2, "w-first")
    assert kit.document(job.id) == before


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.PROCESSING])
async def test_a_document_that_kept_its_owner_by_mistake_is_written_by_nobody(kit: Any, state: JobState) -> None:
    job = kit.place(state, owner="w-own")
    before = kit.document(job.id)
    for act, _ in LEAVING.values():
        await act(kit, job.id, job.attempt, "w-own")
    for save in SAVING.values():
        with pytest.raises(LeaseLost):
            await save(kit, job.id, job.attempt, "w-own")
    assert kit.document(job.id) == before


async def test_a_whole_life_raises_the_attempt_only_at_claims(kit: Any) -> None:
    job = await kit.put()
    for number in range(1, 5):
        (claimed,) = await kit.manager.claim([job.id], token=f"t{number}", owner=f"w{number}", types=["noop"])
        assert claimed.attempt == number
        last = number == 4
        to = JobState.COMPLETED if last else JobState.QUEUED
        settlement = Settlement(job.id, number, to, Reason.COMPLETED if last else Reason.RELEASED)
        await kit.manager.settle([settlement], by=f"w{number}")
    log = (await kit.reads.job(job.id)).log
    assert [entry.seq for entry in log] == list(range(9))
    for earlier, entry in itertools.pairwise(log):
        assert entry.from_ is earlier.to
        assert is_legal(entry.from_, entry.to)
        assert entry.attempt - earlier.attempt == (1 if entry.reason is Reason.CLAIMED else 0)
    assert [entry.to.is_terminal for entry in log] == [False] * 8 + [True]


async def test_the_log_keeps_its_last_two_hundred_steps_and_counts_the_others(kit: Any) -> None:
    job = await kit.put()
    for number in range(1, 104):
        await kit.manager.claim([job.id], token=f"t{number}", owner="w", types=["noop"])
        if number < 103:
            await kit.manager.settle([Settlement(job.id, number, JobState.QUEUED, Reason.RELEASED)], by="w")
    await kit.manager.settle([Settlement(job.id, 103, JobState.COMPLETED, Reason.COMPLETED)], by="w")
    stored = await kit.reads.job(job.id)
    assert (len(stored.log), stored.log_dropped) == (200, 7)
    assert [entry.seq for entry in stored.log] == list(range(7, 207))
    assert stored.log[-1].to is JobState.COMPLETED
