"""B3: a job with a crash to its name runs alone in its child."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from worker_stage import POOL, Child, Stage

from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually
from headrace.worker import claim_loop, prefetch
from headrace.worker.feed import Feed
from headrace.worker.held import Held
from headrace.worker.suspects import MAX_PAUSE_MS, is_suspect, pause_ms, split


def held(**fields: Any) -> Held:
    return Held(make_job(**fields), "t")


def test_only_a_counted_crash_makes_a_suspect() -> None:
    assert not is_suspect(make_job(failures=3, attempt=9))
    assert is_suspect(make_job(crashes=1))


def test_of_a_claim_what_comes_after_its_first_suspect_goes_back() -> None:
    one, two = held(), held()
    suspect, other = held(crashes=1), held(crashes=2)
    assert split([one, two]) == ([one, two], [])
    assert split([one, suspect, two, other]) == ([one, suspect], [two, other])
    assert split([suspect, one]) == ([suspect], [one])
    assert split([]) == ([], [])


def test_a_suspect_that_finds_no_room_stays_away_longer_each_time_and_at_most_a_minute() -> None:
    pauses = [pause_ms(make_job(crashes=1, attempt=attempt)) for attempt in range(2, 12)]
    assert pauses[:3] == [1000, 2000, 4000]
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE_MS
    assert pause_ms(make_job(crashes=2, failures=1, attempt=4)) == 1000, "crashes and failures are no waits"


def test_a_suspect_waits_until_nothing_runs_and_nothing_starts_until_it_has_ended() -> None:
    gate = Feed(3, lambda: None)
    first, suspect, last = held(), held(crashes=1), held()
    gate.put([first, suspect])
    assert gate.is_reserved
    assert gate.take(0) is first
    assert gate.take(0) is None
    gate.done(first)
    assert gate.take(0) is suspect
    gate.put([last])
    assert gate.is_reserved
    assert gate.take(0) is None
    gate.done(suspect)
    assert not gate.is_reserved
    assert gate.take(0) is last


def test_a_suspect_is_not_stale_before_its_own_time() -> None:
    gate = Feed(1, lambda: None)
    plain, suspect = held(), held(crashes=1)
    for item in (plain, suspect):
        item.claimed_at -= 3
    gate.put([suspect, plain])
    assert (gate.oldest_seconds() or 0) >= 3
    assert gate.withdraw(older_than_seconds=1, suspects_seconds=5) == [plain]
    assert gate.oldest_seconds() is None
    assert gate.withdraw(older_than_seconds=9, suspects_seconds=2) == [suspect]


async def crashed(stage: Stage, count: int) -> list[Job]:
    return await stage.submit(count, crashes=1)


async def next_of(child: Child) -> Held:
    return await child.take()


async def test_the_child_that_claims_a_suspect_hands_the_rest_of_the_claim_back_without_cost(stage: Stage) -> None:
    (suspect,) = await crashed(stage, 1)
    others = await stage.submit(3)
    child = stage.child(slots=4)
    alone = await child.take()
    assert alone.job.id == suspect.id
    for other in others:
        await eventually(lambda other=other: stage.in_state(other, "queued"))
    await asyncio.sleep(0.3)
    assert (child.feed.waiting, child.feed.running) == (0, 1), "nothing is claimed beside it"
    assert (await stage.queue.depths(POOL)).in_flight == 1
    child.complete(alone)
    taken = [await child.take() for _ in others]
    assert {item.job.id for item in taken} == {job.id for job in others}
    for item in taken:
        child.complete(item)
    for other in others:
        stored = await eventually(lambda other=other: stage.in_state(other, "completed"))
        assert (stored.failures, stored.crashes) == (0, 0)


async def test_many_suspects_run_one_after_another_and_are_not_claimed_in_heaps(stage: Stage) -> None:
    suspects = await crashed(stage, 6)
    child = stage.child(slots=6)
    for _ in suspects:
        item = await child.take()
        assert child.feed.running == 1
        child.complete(item)
    attempts = []
    for job in suspects:
        stored = await eventually(lambda job=job: stage.in_state(job, "completed"))
        attempts.append(stored.attempt)
    assert sum(attempts) <= len(suspects) + 5, "one claim took them all, the others one each"


async def test_a_suspect_that_cannot_run_alone_goes_away_for_a_while_and_the_others_go_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(claim_loop, "POLL_SECONDS", 0.05)
    child = stage.child(slots=2)
    (long,) = await stage.submit()
    running = await child.take()
    assert running.job.id == long.id
    (suspect,) = await crashed(stage, 1)

    async def away() -> bool:
        stored = await stage.job(suspect)
        return stored.state is JobState.QUEUED and stored.attempt == 1 and stored.run_at > stored.created_at

    await eventually(away)
    (other,) = await stage.submit()
    beside = await child.take()
    assert beside.job.id == other.id
    child.complete(beside)
    child.complete(running)
    alone = await child.take()
    assert (alone.job.id, alone.job.crashes) == (suspect.id, 1)
    child.complete(alone)
