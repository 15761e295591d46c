"""Settlements of one kind are one statement: what differs between the jobs must still reach the right one."""

from __future__ import annotations

from datetime import UTC, datetime

from headrace.contracts.config import JobConfig
from headrace.contracts.job import JobError
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store.database import Database
from headrace.runtime.store.reads import Reads
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.state_settle import PART_BYTES
from headrace.runtime.store.values import Settlement, SettleVerdict
from headrace.testing.builders import make_job


async def claimed(state: JobStateManager, count: int) -> list[str]:
    jobs = [make_job() for _ in range(count)]
    await state.insert(jobs)
    found = await state.claim([job.id for job in jobs], token="t", owner="w-1", types=["noop"])
    assert len(found) == count
    return [job.id for job in jobs]


async def test_results_progress_and_start_of_each_job_are_its_own(config: JobConfig) -> None:
    database = Database(config, appname="test")
    state, reads = JobStateManager(database), Reads(database)
    ids = await claimed(state, 5)
    done, reason = JobState.COMPLETED, Reason.COMPLETED
    answers = await state.settle(
        [
            Settlement(ids[0], 1, done, reason, result='"$a"', started_ms_ago=5000, progress=(0.5, "$half")),
            Settlement(ids[1], 1, done, reason, result="2.50", started_ms_ago=10),
            Settlement(ids[2], 1, done, reason, started_ms_ago=0, progress=(1.0, "all")),
            Settlement(ids[3], 1, done, reason),
            Settlement(ids[4], 1, JobState.QUEUED, Reason.RELEASED),
        ],
        by="w-1",
    )
    assert [answer.verdict for answer in answers] == [SettleVerdict.APPLIED] * 5
    jobs = [await reads.job(job_id) for job_id in ids]
    assert [job.result for job in jobs] == ['"$a"', "2.50", None, None, None]
    assert [job.progress and (job.progress.fraction, job.progress.message) for job in jobs] == [
        (0.5, "$half"), None, (1.0, "all"), None, None,
    ]  # fmt: skip
    assert [job.started_at is not None for job in jobs] == [True, True, True, False, False]
    assert jobs[0].started_at is not None
    assert jobs[1].started_at is not None
    assert 4.9 < (jobs[1].started_at - jobs[0].started_at).total_seconds() < 5.1
    assert [job.state for job in jobs] == [done] * 4 + [JobState.QUEUED]
    database.close()


async def test_a_released_job_keeps_no_field_that_it_did_not_have(config: JobConfig) -> None:
    database = Database(config, appname="test")
    state = JobStateManager(database)
    (released,) = await claimed(state, 1)
    await state.settle([Settlement(released, 1, JobState.QUEUED, Reason.RELEASED)], by="w-1")
    document = await database.jobs.find_one({"_id": released})
    assert not {"owner", "claim_token", "started_at", "result", "progress", "finished_at"} & set(document)
    database.close()


async def test_failures_of_different_errors_keep_their_own(config: JobConfig) -> None:
    database = Database(config, appname="test")
    state, reads = JobStateManager(database), Reads(database)
    ids = await claimed(state, 2)
    errors = [JobError(type=name, message=f"${name}", fingerprint=name, at=datetime.now(UTC)) for name in ("A", "B")]
    await state.settle(
        [
            Settlement(job_id, 1, JobState.FAILED, Reason.FAILED, error=error, counts_failure=True, started_ms_ago=1)
            for job_id, error in zip(ids, errors, strict=True)
        ],
        by="w-1",
    )
    jobs = [await reads.job(job_id) for job_id in ids]
    assert [job.error and job.error.message for job in jobs] == ["$A", "$B"]
    assert [job.failures for job in jobs] == [1, 1]
    database.close()


async def test_large_results_are_cut_into_statements_that_fit(config: JobConfig) -> None:
    database = Database(config, appname="test")
    state, reads = JobStateManager(database), Reads(database)
    ids = await claimed(state, 90)
    results = ['"' + chr(ord("a") + number % 26) * 250_000 + '"' for number in range(90)]
    assert sum(map(len, results)) > 3 * PART_BYTES
    answers = await state.settle(
        [
            Settlement(job_id, 1, JobState.COMPLETED, Reason.COMPLETED, result=result, started_ms_ago=0)
            for job_id, result in zip(ids, results, strict=True)
        ],
        by="w-1",
    )
    assert {answer.verdict for answer in answers} == {SettleVerdict.APPLIED}
    for job_id, result in list(zip(ids, results, strict=True))[::17]:
        assert (await reads.job(job_id)).result == result
    database.close()
