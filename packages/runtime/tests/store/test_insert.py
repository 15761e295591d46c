"""Inserts: every job is judged for itself, and the answer says what is known and no more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace.contracts.job import Idempotency
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store import state_insert
from headrace.runtime.store.reconcile_reads import ReconcileReads
from headrace.runtime.store.values import InsertVerdict, Settlement
from headrace.testing.builders import make_job


def key(text: str = "k", scope: str = "s", digest: str = "d") -> Idempotency:
    return Idempotency(scope=scope, key=text, digest=digest)


async def missing(kit: Any) -> list[str]:
    return [standing.id for standing in await ReconcileReads(kit.database).stored("default", limit=100)]


def verdicts(answers: list[Any]) -> list[str]:
    return [answer.verdict.value for answer in answers]


async def test_what_was_inserted_reads_back_as_it_was(kit: Any) -> None:
    job = await kit.put(
        payload='{"$where": "1", "n": 1e400}', tags={"$a.b": "$$NOW", "c": "x"}, unique_key="$u", idempotency=key("$k")
    )
    assert await kit.reads.job(job.id) == job
    assert kit.document(job.id)["score"] == job.ready_score


async def test_the_same_id_again_is_our_own_repeat_and_changes_nothing(kit: Any) -> None:
    job = await kit.put()
    before = kit.document(job.id)
    assert verdicts(await kit.manager.insert([job.evolve(payload="2")])) == ["created"]
    assert kit.document(job.id) == before


async def test_every_job_of_a_batch_stands_for_itself_in_order(kit: Any) -> None:
    held = await kit.put(unique_key="u")
    first = await kit.put(idempotency=key())
    jobs = [
        make_job(),
        make_job(idempotency=key(digest="other")),
        make_job(unique_key="u"),
        first,
        make_job(idempotency=key("k2")),
        make_job(),
    ]
    answers = await kit.manager.insert(jobs)
    assert verdicts(answers) == ["created", "same_key", "held", "created", "created", "created"]
    assert answers[1].other.id == first.id
    assert answers[2].other.id == held.id
    assert kit.raw.jobs.count_documents({}) == 5


async def test_no_jobs_are_no_work(kit: Any) -> None:
    assert await kit.manager.insert([]) == []
    assert kit.commands == []


async def test_one_key_makes_one_job_however_many_send_it_at_once(kit: Any) -> None:
    answers = await asyncio.gather(*(kit.manager.insert([make_job(idempotency=key())]) for _ in range(16)))
    assert sorted(verdicts([answer for (answer,) in answers])) == ["created"] + ["same_key"] * 15
    assert kit.raw.jobs.count_documents({}) == 1


async def test_a_key_belongs_to_its_scope(kit: Any) -> None:
    await kit.put(idempotency=key(scope="a"))
    assert verdicts(await kit.manager.insert([make_job(idempotency=key(scope="b"))])) == ["created"]


async def test_a_key_is_found_with_the_job_it_made(kit: Any) -> None:
    job = await kit.put(idempotency=key())
    assert (await kit.manager.find_by_key("s", "k")).id == job.id
    assert await kit.manager.find_by_key("s", "other") is None
    assert await kit.manager.find_by_key("other", "k") is None


async def test_a_key_outlives_the_end_of_its_job(kit: Any) -> None:
    job = await kit.put(idempotency=key())
    await kit.manager.cancel(job.id, by="api")
    assert verdicts(await kit.manager.insert([make_job(idempotency=key())])) == ["same_key"]


async def test_a_winner_that_no_majority_shows_is_reported_as_unsettled(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kit.put(idempotency=key())
    monkeypatch.setattr(state_insert, "KEY_WAIT_SECONDS", 0.1)

    async def nobody(scope: str, text: str) -> None:
        return None

    monkeypatch.setattr(kit.manager, "find_by_key", nobody)
    assert verdicts(await kit.manager.insert([make_job(idempotency=key())])) == ["key_unsettled"]


@pytest.mark.parametrize("state", JobState)
async def test_a_unique_key_is_held_until_the_terminal_update(kit: Any, state: JobState) -> None:
    holder = kit.place(state, unique_key="u")
    (answer,) = await kit.manager.insert([make_job(unique_key="u")])
    if state.is_terminal:
        assert answer.verdict is InsertVerdict.CREATED
    else:
        assert (answer.verdict, answer.other.id) == (InsertVerdict.HELD, holder.id)


@pytest.mark.parametrize("to", [JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED])
async def test_every_end_frees_the_unique_key(kit: Any, to: JobState) -> None:
    job = await kit.running(unique_key="u")
    if to is JobState.CANCELLED:
        await kit.manager.cancel(job.id, by="api")
    done = Settlement(job.id, 1, JobState.COMPLETED if to is JobState.CANCELLED else to, Reason.COMPLETED)
    await kit.manager.settle([done], by="w-own")
    assert kit.document(job.id)["state"] == to.value
    assert verdicts(await kit.manager.insert([make_job(unique_key="u")])) == ["created"]


async def test_a_unique_key_belongs_to_its_type_and_tenant(kit: Any) -> None:
    jobs = [
        make_job(unique_key="u"),
        make_job(unique_key="u", type="other"),
        make_job(unique_key="u", tenant="t1"),
        make_job(unique_key="u", tenant="t2"),
    ]
    assert verdicts(await kit.manager.insert(jobs)) == ["created"] * 4
    again = await kit.manager.insert([make_job(unique_key="u", tenant="t1")])
    assert again[0].other.id == jobs[2].id


async def test_a_holder_that_ends_meanwhile_is_asked_for_once_more(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = await kit.put(unique_key="u")
    sort = kit.manager._sort_unique

    async def after_its_end(job: Any) -> Any:
        await kit.manager.cancel(holder.id, by="api")
        return await sort(job)

    monkeypatch.setattr(kit.manager, "_sort_unique", after_its_end)
    assert verdicts(await kit.manager.insert([make_job(unique_key="u")])) == ["created"]
    assert kit.raw.jobs.count_documents({"unique_key": "u", "state": "queued"}) == 1


WAIT_FAILED = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}


async def test_a_holder_that_no_majority_shows_leaves_the_outcome_unknown(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kit.put(unique_key="u")

    class NotYetVisible:
        def __init__(self, jobs: Any) -> None:
            self._jobs = jobs

        async def find_one(self, *_: Any) -> None:
            return None

        def __getattr__(self, name: str) -> Any:
            return getattr(self._jobs, name)

    monkeypatch.setattr(kit.manager, "_jobs", NotYetVisible(kit.manager._jobs))
    assert verdicts(await kit.manager.insert([make_job(unique_key="u")])) == ["unknown"]
    assert kit.raw.jobs.count_documents({}) == 1


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon: the driver repeats until the limit is over."""
    monkeypatch.setattr(state_insert, "INSERT_SECONDS", 0.5)
    monkeypatch.setattr(state_insert, "LOOK_UP_SECONDS", 0.5)


async def test_an_insert_whose_majority_wait_failed_is_never_called_refused(kit: Any) -> None:
    job = make_job()
    with kit.failing("insert", times=1, **WAIT_FAILED):
        (answer,) = await kit.manager.insert([job])
    assert answer.verdict in {InsertVerdict.CREATED, InsertVerdict.UNKNOWN}
    assert kit.document(job.id)["state"] == "queued"
    assert verdicts(await kit.manager.insert([job])) == ["created"]


async def test_an_insert_that_was_applied_but_not_confirmed_is_found(kit: Any, short: None) -> None:
    stored, missing = await kit.put(), make_job()
    with kit.failing("insert", closeConnection=True):
        assert verdicts(await kit.manager.insert([stored, missing])) == ["created", "unknown"]
    assert kit.raw.jobs.count_documents({}) == 1


async def test_b1_a_sent_insert_is_unknown_when_the_look_up_fails_too(kit: Any, short: None) -> None:
    jobs = [make_job(), make_job()]
    with kit.failing("insert", "find", closeConnection=True):
        assert verdicts(await kit.manager.insert(jobs)) == ["unknown", "unknown"]


async def test_b1_a_duplicate_that_cannot_be_looked_up_leaves_the_others_as_they_are(kit: Any, short: None) -> None:
    await kit.put(idempotency=key())
    await kit.put(unique_key="u")
    with kit.failing("find", closeConnection=True):
        answers = await kit.manager.insert([make_job(), make_job(idempotency=key()), make_job(unique_key="u")])
    assert verdicts(answers) == ["created", "unknown", "unknown"]


async def test_the_drivers_own_repeat_of_an_insert_makes_one_job(kit: Any) -> None:
    job = make_job()
    with kit.failing("insert", times=1, closeConnection=True):
        assert verdicts(await kit.manager.insert([job])) == ["created"]
    assert len([command for command in kit.commands if "insert" in command]) == 2
    assert kit.raw.jobs.count_documents({}) == 1


async def test_a_document_the_server_refuses_leaves_the_others_as_they_are(kit: Any) -> None:
    kit.raw.command({"collMod": "jobs", "validator": {"priority": {"$lt": 2}}})
    answers = await kit.manager.insert([make_job(), make_job().evolve(priority=2), make_job()])
    assert verdicts(answers) == ["created", "unknown", "created"]


async def test_whether_a_waiting_job_is_in_redis_is_noted(kit: Any) -> None:
    jobs = [await kit.put(), await kit.put()]
    await kit.manager.mark_unindexed([jobs[0].id])
    assert await missing(kit) == [jobs[0].id]
    assert (await kit.reads.job(jobs[0].id)).indexed is False
    await kit.manager.mark_indexed([job.id for job in jobs])
    assert await missing(kit) == []


async def test_a_job_that_ended_while_it_was_missing_in_redis_is_no_longer_listed_as_missing(kit: Any) -> None:
    job = await kit.put(indexed=False)
    await kit.manager.cancel(job.id, by="api")
    assert await missing(kit) == []
    assert (await kit.reads.job(job.id)).indexed is True


async def test_a_claim_says_that_redis_need_not_be_told(kit: Any) -> None:
    job = await kit.put(indexed=False)
    await kit.manager.claim([job.id], token="t", owner="w", types=["noop"])
    assert await missing(kit) == []
    assert (await kit.reads.job(job.id)).indexed is True
