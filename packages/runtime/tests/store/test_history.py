from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headrace.contracts.job import JobError
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store.history import COARSE_SECONDS, FINE_SECONDS, KEPT_DAYS, MIDDLE_SECONDS, NAMES, History
from headrace.runtime.store.history_reads import HistoryReads
from headrace.runtime.store.history_values import Levels, Sample, add_up, floor_to, percentile_seconds
from headrace.runtime.store.values import Settlement

START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture
async def history(kit) -> History:
    made = History(kit.database)
    await made.ensure()
    return made


async def test_each_grain_is_a_time_series_collection_that_forgets_by_itself(kit, history):
    await history.ensure()
    found = {item["name"]: item["options"] async for item in await kit.database.handle.list_collections()}
    for seconds, name in NAMES.items():
        assert found[name]["timeseries"]["timeField"] == "at"
        assert found[name]["timeseries"]["metaField"] == "meta"
        assert found[name]["expireAfterSeconds"] == KEPT_DAYS[seconds] * 86_400


async def test_samples_are_read_as_they_were_written(history):
    pool = Sample(
        at=at(0), seconds=10, pool="crawl", levels=Levels(high=1, oldest_seconds=2.5, slots=4), peaks=Levels(high=3)
    )
    type_ = Sample(
        at=at(10), seconds=10, pool="crawl", type="$odd.name", counts={"completed": 3}, wait={0: 1, 44: 2}, run={7: 3}
    )
    await history.write([pool, type_])
    assert await history.read(FINE_SECONDS, since=at(0), until=at(20)) == [pool, type_]
    assert await history.read(FINE_SECONDS, since=at(0), until=at(10)) == [pool]
    assert await history.read(FINE_SECONDS, since=at(0), until=at(20), type_="$odd.name") == [type_]
    assert await history.read(FINE_SECONDS, since=at(0), until=at(20), pool="mail") == []
    assert await history.newest(FINE_SECONDS, not_before=at(0)) == at(10)
    assert await history.newest(FINE_SECONDS, not_before=at(11)) is None
    assert await history.newest(COARSE_SECONDS, not_before=at(0)) is None
    await history.write([])


async def test_an_interval_written_twice_is_read_once(history):
    sample = Sample(at=at(0), seconds=10, pool="crawl", type="t", counts={"completed": 3})
    await history.write([sample])
    await history.write([sample])
    assert await history.read(FINE_SECONDS, since=at(0), until=at(10)) == [sample]


def test_longer_intervals_add_counts_average_levels_and_keep_peaks():
    parts = [
        Sample(at=at(0), seconds=10, pool="p", levels=Levels(high=1, in_flight=4)),
        Sample(at=at(10), seconds=10, pool="p", levels=Levels(high=4, in_flight=1), peaks=Levels(high=9)),
        Sample(at=at(0), seconds=10, pool="p", type="t", counts={"completed": 2}, run={1: 2}),
        Sample(at=at(10), seconds=10, pool="p", type="t", counts={"completed": 1, "failed": 1}, run={1: 1, 5: 1}),
        Sample(at=at(300), seconds=10, pool="p"),
    ]
    levels, counts, later = add_up(parts, MIDDLE_SECONDS)
    assert levels == Sample(
        at=at(0), seconds=300, pool="p", levels=Levels(high=2.5, in_flight=2.5), peaks=Levels(high=9, in_flight=4)
    )
    assert (counts.counts, counts.run, counts.type) == ({"completed": 3, "failed": 1}, {1: 3, 5: 1}, "t")
    assert (later.at, later.levels, later.peaks) == (at(300), None, None)


def test_intervals_begin_at_whole_multiples_since_1970():
    assert floor_to(at(17), 10) == at(10)
    assert floor_to(at(4000), 3600) == at(3600)


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 0.001), (0.75, 0.1), (1.0, 10.0)])
def test_percentiles_are_right_to_the_width_of_a_bucket(share, seconds):
    # 2^(26/4) ms = 91 ms, 2^(53/4) ms = 9.7 s
    assert percentile_seconds({0: 2, 26: 1, 53: 1}, share) == pytest.approx(seconds, rel=0.1)


def test_no_durations_have_no_percentile():
    assert percentile_seconds({}, 0.5) is None


async def activity(kit, *, since=timedelta(seconds=-600)):
    reads = HistoryReads(kit.database)
    now = await kit.database.now()
    return await reads.activity(now + since, now + timedelta(seconds=10))


async def test_what_happened_is_counted_from_the_jobs_own_logs(kit):
    done, failed, again = [await kit.running(token=f"t-{number}") for number in range(3)]
    await kit.put()
    error = JobError(type="E", message="m", fingerprint="f", at=datetime.now(UTC))
    await kit.manager.settle(
        [
            Settlement(done.id, 1, JobState.COMPLETED, Reason.COMPLETED, result="1", started_ms_ago=100),
            Settlement(failed.id, 1, JobState.FAILED, Reason.FAILED, error=error),
            Settlement(again.id, 1, JobState.QUEUED, Reason.RETRY, error=error, delay_ms=0, counts_failure=True),
        ],
        by="w-own",
    )
    ((key, found),) = (await activity(kit)).items()
    assert key == (done.pool, done.type)
    assert found.counts == {"submitted": 4, "claimed": 3, "completed": 1, "failed": 1, "retried": 1}
    assert sum(found.wait.values()) == 2  # the job that went back is due anew
    (bucket,) = found.run
    assert percentile_seconds(found.run, 0.5) == pytest.approx(0.1, rel=0.3)
    assert bucket > 0


async def test_a_transition_counts_in_the_stretch_it_lies_in_whatever_came_later(kit):
    job = await kit.running()
    reads = HistoryReads(kit.database)
    middle = await kit.database.now() + timedelta(milliseconds=1)
    while await kit.database.now() < middle:
        pass  # the end of a quick settlement would lie before it
    await kit.manager.settle([Settlement(job.id, 1, JobState.COMPLETED, Reason.COMPLETED)], by="w-own")
    before = await reads.activity(middle - timedelta(minutes=1), middle)
    after = await reads.activity(middle, middle + timedelta(minutes=1))
    assert [found.counts for found in before.values()] == [{"submitted": 1, "claimed": 1}]
    assert [found.counts for found in after.values()] == [{"completed": 1}]


async def test_nothing_happened_is_nothing(kit):
    assert await activity(kit) == {}
