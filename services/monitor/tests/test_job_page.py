from __future__ import annotations

from datetime import UTC, datetime, timedelta

from monitor_pages import page

from headrace.contracts.heartbeat import ExitRecord
from headrace.contracts.job import JobError, Priority
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store.job_logs import JobLogs, LogBatch
from headrace.runtime.store.values import Settlement

EVIL = "<script>alert(1)</script>"


async def test_a_waiting_job_says_why_it_waits_in_the_schedulers_words(world, monitor, scheduler):
    scheduler.answers["/why"] = {
        "reasons": [{"code": "no-worker", "detail": "no living worker of the pool knows the type"}],
        "position": 3,
        "eta_seconds": None,
    }
    job = await world.put(run_at=datetime.now(UTC) + timedelta(hours=2), tags={"team": "a&b"})
    text = await page(monitor, f"/jobs/{job.id}")
    for words in ("Why is it not running?", "no-worker", "Its place is 3", "in 2.0 h", "team:a&amp;b", "delayed"):
        assert words in text
    assert f'data-live="/live" data-topic="job:{job.id}"' in text


async def test_without_the_scheduler_the_page_says_that_it_cannot_say_why(world, serve):
    monitor = await serve(world.config.model_copy(update={"scheduler_url": "http://127.0.0.1:9"}))
    job = await world.put()
    assert "That is not known: the scheduler does not answer" in await page(monitor, f"/jobs/{job.id}")


async def test_a_running_job_shows_progress_worker_and_log_lines(world, monitor):
    await world.beat()
    job = await world.put(submitted_by="olga")
    (claimed,) = await world.jobs.claim([job.id], token="t", owner="w-host-a-7", types=[job.type])
    await world.jobs.save_progress(
        job.id, claimed.attempt, "w-host-a-7", fraction=0.42, message="210 of 500", started_ms_ago=10
    )
    lines = [(1, 1.0, "stdout", "hello " + EVIL), (2, 2.0, "error", "oh no")]
    await JobLogs(world.database).append([LogBatch(job.id, 1, 1, lines, keep=500)])
    text = await page(monitor, f"/jobs/{job.id}")
    for words in ("42 %", "210 of 500", "on host-a", "by olga", "oh no", "attempt 1", "claimed as attempt 1"):
        assert words in text
    assert EVIL not in text
    assert "Cancel…" in text
    assert "Replay…" not in text


async def test_a_completed_job_shows_result_and_payload_without_secrets(world, serve):
    monitor = await serve(world.config.model_copy(update={"redact_keys": ("Pin",)}))
    job = await world.put(payload='{"password": "hunter2", "pin": 1234, "n": 12345678901234567890.10}')
    await world.run(job)
    await world.jobs.settle(
        [Settlement(job.id, 1, JobState.COMPLETED, Reason.COMPLETED, result='{"html": "<b>"}', started_ms_ago=1500)],
        by="w-1",
    )
    text = await page(monitor, f"/jobs/{job.id}")
    assert "hunter2" not in text
    assert "1234," not in text
    assert "12345678901234567890.10" in text
    assert "2 values hidden" in text
    assert "&lt;b&gt;" in text
    assert "after 1.5 s" in text
    assert "data-live" not in text


async def test_a_crashed_job_tells_how_its_worker_died(world, monitor):
    incarnation = await world.beat()
    job = await world.put()
    (claimed,) = await world.jobs.claim([job.id], token="t", owner=incarnation, types=[job.type])
    death = ExitRecord(kind="signal", signal=9, peak_rss_bytes=120 * 2**20)
    await world.incarnations.mark_dead(incarnation, exit_record=death, running=[job.id], culprit=job.id)
    document = {
        "$set": {"state": "failed", "error": ERROR, "errors": [ERROR], "finished_at": NOW},
        "$unset": {"owner": 1},
    }
    entry = {
        "seq": 2, "from": "processing", "to": "failed", "attempt": claimed.attempt, "owner": incarnation,
        "by": "recovery", "at": NOW, "reason": "crash_loop",
    }  # fmt: skip
    await world.database.jobs.update_one({"_id": job.id}, {**document, "$push": {"log": entry}})
    text = await page(monitor, f"/jobs/{job.id}")
    for words in ("killed by SIGKILL (9), peak memory 120 MiB", "this job is the suspect", "crash_loop", "given up"):
        assert words in text
    recovery = await page(monitor, "/recovery")
    assert "killed by SIGKILL (9)" in recovery
    assert "culprit" in recovery


NOW = datetime.now(UTC)
ERROR = {"type": "crash_loop", "message": "the worker died", "fingerprint": "crash_loop", "at": NOW}


async def test_unknown_jobs_are_a_page_not_found(world, monitor):
    assert "Not found" in await page(monitor, "/jobs/nonsense", 404)
    assert "Not found" in await page(monitor, "/jobs/01999999-0000-7000-8000-000000000000", 404)


async def test_a_retried_job_shows_each_attempt_with_its_error(world, monitor):
    job = await world.put(priority=Priority.HIGH)
    await world.run(job)
    error = JobError(type="ValueError", message="first " + EVIL, fingerprint="f", at=datetime.now(UTC))
    retry = Settlement(job.id, 1, JobState.QUEUED, Reason.RETRY, error=error, delay_ms=60_000, counts_failure=True)
    await world.jobs.settle([retry], by="w-1")
    text = await page(monitor, f"/jobs/{job.id}")
    assert "retrying" in text
    assert "first &lt;script&gt;" in text
    assert "attempt 1 failed; another follows" in text
