"""Grouping: who is committed with whom, and what a caller that goes away leaves."""

from __future__ import annotations

import asyncio

import pytest

from headrace.contracts.errors import ApiError, QueueFullError, StoreUnavailableError
from headrace.contracts.submission import JobSubmission
from headrace.runtime.process.ids import new_job_id
from headrace.runtime.web.auth import LOCAL_ADMIN
from headrace.scheduler import intake as intake_module
from headrace.scheduler.body import read_job_body
from headrace.scheduler.drafts import Draft
from headrace.scheduler.intake import LANES, MAX_BATCH, Intake, Stored
from headrace.scheduler.services import SERVICES
from headrace.scheduler.tasks import Tasks


def draft(pool="default"):
    return Draft(
        id=new_job_id(),
        fields=JobSubmission(type="any", payload=None),
        payload="null",
        pool=pool,
        timeout_seconds=1,
        max_retries=0,
        contract_version=1,
        submitted_by="test",
        tenant=None,
        idempotency=None,
    )


class Commits:
    """A commit that waits for its gate and remembers its batches."""

    def __init__(self):
        self.batches = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.outcome = lambda item: Stored(item.to_job(0, indexed=True), created=True)

    async def __call__(self, pool, drafts):
        self.batches.append((pool, [item.id for item in drafts]))
        await self.gate.wait()
        return [self.outcome(item) for item in drafts]


@pytest.fixture
def commits():
    return Commits()


@pytest.fixture
def tasks():
    return Tasks()


@pytest.fixture
def intake(commits, tasks):
    return Intake(commits, tasks)


async def _fill_lanes(intake):
    busy = []
    for _ in range(LANES):
        busy.append(asyncio.create_task(intake.submit(draft())))
        await asyncio.sleep(0.001)
    return busy


async def test_an_idle_intake_commits_at_once_and_alone(intake, commits):
    one = draft()
    assert (await intake.submit(one)).job.id == one.id
    assert commits.batches == [("default", [one.id])]


async def test_what_arrives_in_one_turn_of_the_loop_is_one_batch_per_pool_in_order(intake, commits):
    drafts = [draft("a" if n % 3 else "b") for n in range(30)]
    stored = await asyncio.gather(*map(intake.submit, drafts))
    assert [item.job.id for item in stored] == [item.id for item in drafts]
    assert commits.batches == [(pool, [item.id for item in drafts if item.pool == pool]) for pool in ("b", "a")]


async def test_when_every_lane_is_busy_the_rest_gathers_into_the_next_batch(intake, commits):
    commits.gate.clear()
    waiting = []
    for _ in range(LANES + 20):
        waiting.append(asyncio.create_task(intake.submit(draft())))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert [len(ids) for _, ids in commits.batches] == [1] * LANES
    commits.gate.set()
    await asyncio.gather(*waiting)
    assert [len(ids) for _, ids in commits.batches] == [1] * LANES + [20]


async def test_a_batch_has_a_thousand_jobs_at_most(intake, commits):
    await asyncio.gather(*(intake.submit(draft()) for _ in range(2 * MAX_BATCH + 1)))
    assert [len(ids) for _, ids in commits.batches] == [MAX_BATCH, MAX_BATCH, 1]


async def test_each_draft_has_its_own_outcome(intake, commits):
    bad = draft()
    good = commits.outcome
    commits.outcome = lambda item: QueueFullError() if item is bad else good(item)
    drafts = [draft(), bad, draft()]
    results = await asyncio.gather(*map(intake.submit, drafts), return_exceptions=True)
    assert [type(result) for result in results] == [Stored, QueueFullError, Stored]


async def test_a_commit_that_breaks_answers_everybody_and_frees_its_lane(intake, commits):
    def broken(_item):
        raise RuntimeError("a bug")

    good, commits.outcome = commits.outcome, broken
    for _ in range(LANES + 1):
        results = await asyncio.gather(*(intake.submit(draft()) for _ in range(2)), return_exceptions=True)
        assert [(type(result), result.code) for result in results] == [(ApiError, "internal")] * 2
    commits.outcome = good
    await intake.submit(draft())


async def test_a_caller_that_leaves_before_the_commit_leaves_nothing(intake, commits):
    commits.gate.clear()
    busy = await _fill_lanes(intake)
    waiting = asyncio.create_task(intake.submit(draft()))
    await asyncio.sleep(0.001)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    commits.gate.set()
    await asyncio.gather(*busy)
    assert len(commits.batches) == LANES


async def test_a_caller_that_leaves_during_the_commit_leaves_a_whole_job(intake, commits, tasks):
    commits.gate.clear()
    finished = []
    good = commits.outcome
    commits.outcome = lambda item: finished.append(item.id) or good(item)
    one = draft()
    waiting = asyncio.create_task(intake.submit(one))
    await asyncio.sleep(0.001)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    commits.gate.set()
    await tasks.drain()
    assert finished == [one.id]


async def test_an_error_for_a_caller_that_left_is_no_noise(intake, commits, tasks, caplog):
    commits.gate.clear()
    commits.outcome = lambda _item: QueueFullError()
    waiting = asyncio.create_task(intake.submit(draft()))
    await asyncio.sleep(0.001)
    waiting.cancel()
    await asyncio.wait([waiting])
    commits.gate.set()
    await tasks.drain()
    assert "never retrieved" not in caplog.text


async def test_who_waits_too_long_is_refused(intake, commits, monkeypatch):
    monkeypatch.setattr(intake_module, "WAIT_SECONDS", 0.05)
    commits.gate.clear()
    busy = await _fill_lanes(intake)
    with pytest.raises(StoreUnavailableError, match="too slow"):
        await intake.submit(draft())
    commits.gate.set()
    await asyncio.gather(*busy)
    assert len(commits.batches) == LANES


async def test_a_handler_that_is_cancelled_leaves_nothing_or_a_whole_job(make_api, config, queue, failpoint):
    api = await make_api(config)
    await api.complete()
    services = api.app[SERVICES]
    failpoint("before_reserve=sleep:3;before_mongo_insert=sleep:3;after_mongo_insert=sleep:3")
    raw = b'{"type":"any","payload":1}'
    for n in range(60):
        body = read_job_body(raw, payload_limit_bytes=1000)
        key = f"k{n}" if n % 2 else None
        caller = asyncio.create_task(services.submitter.submit(body, token=LOCAL_ADMIN, key=key))
        await asyncio.sleep(n * 0.0004)
        caller.cancel()
        await asyncio.wait([caller])
    await services.tasks.drain()
    stored = [document["_id"] async for document in api.database.jobs.find({}, {"_id": 1})]
    depths = await queue.depths("default")
    assert depths.waiting["medium"] == len(stored)
    assert depths.reserved == 0
    for n in range(1, 60, 2):
        response = await api.post(raw=raw, Idempotency_Key=f"k{n}")
        assert response.status in {200, 201}
