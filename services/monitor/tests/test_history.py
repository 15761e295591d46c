from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from headrace.contracts.states import JobState, Reason
from headrace.monitor.activity_metrics import ActivityMetrics
from headrace.monitor.app import MongoSource
from headrace.monitor.charts import HEIGHT, Line, draw
from headrace.monitor.history_views import HistoryAnswer, HistoryViews, step_for
from headrace.monitor.overview import Overview
from headrace.monitor.pages.charts_data import WINDOWS, draw_all
from headrace.monitor.pages.recents import recents_of
from headrace.monitor.sampler import MOST_LATE, Sampler
from headrace.monitor.scheduler_source import SchedulerSource
from headrace.monitor.sources import RedisSource
from headrace.monitor.words import DASH
from headrace.runtime.store.history import FINE_SECONDS, MIDDLE_SECONDS, History
from headrace.runtime.store.history_reads import LAG, Activity
from headrace.runtime.store.history_values import Levels, Sample, floor_to
from headrace.runtime.store.values import Settlement

TEN = timedelta(seconds=10)


@pytest.fixture
async def mongo(world):
    source = MongoSource(world.config)
    yield source
    source.close()


@pytest.fixture
async def overview(world, mongo):
    redis, scheduler = RedisSource(world.config), SchedulerSource(world.config)
    yield Overview(world.config, mongo=mongo, redis=redis, scheduler=scheduler)
    await redis.close()
    await scheduler.close()


class Clock:
    """MongoDB's clock for the sampler, so that nobody has to wait for ten seconds."""

    def __init__(self, sampler: Sampler, at: datetime) -> None:
        self.at = at
        sampler._database.now = self.now

    async def now(self) -> datetime:
        return self.at


async def test_an_interval_is_written_once_it_is_over_with_levels_and_counts(world, overview, mongo):
    await world.healthy()
    heard = []
    sampler = Sampler(overview, mongo.database, heard=heard.append)
    now = floor_to(datetime.now(UTC), FINE_SECONDS) + LAG
    clock = Clock(sampler, now)
    assert await sampler.run_once() == 0
    job = await world.run(await world.put(pool="crawl", type="crawl-job"))
    await world.jobs.settle([Settlement(job.id, 1, JobState.COMPLETED, Reason.COMPLETED, started_ms_ago=50)], by="w-1")
    clock.at = now + timedelta(seconds=9)
    assert await sampler.run_once() == 0
    clock.at = now + timedelta(seconds=20)
    assert await sampler.run_once() == 2
    begin = now - LAG
    found = await History(world.database).read(FINE_SECONDS, since=begin, until=begin + 2 * TEN)
    counts = [sample for sample in found if sample.type is not None]
    assert {sample.type for sample in counts} == {"crawl-job"}
    total = {
        name: sum(sample.counts.get(name, 0) for sample in counts) for name in ("submitted", "claimed", "completed")
    }
    assert total == {"submitted": 1, "claimed": 1, "completed": 1}
    (levels,) = [sample for sample in found if sample.levels is not None]
    assert (levels.pool, levels.at, levels.levels.slots, levels.levels.workers) == ("crawl", begin + TEN, 4, 1)
    assert len(heard) == 2


async def test_a_second_monitor_writes_no_interval_again_and_counts_it_for_itself(world, overview, mongo):
    await world.put()
    heard = []
    now = floor_to(datetime.now(UTC), FINE_SECONDS) + LAG
    for _ in range(2):
        sampler = Sampler(overview, mongo.database, heard=heard.append)
        clock = Clock(sampler, now)
        await sampler.run_once()
        clock.at = now + TEN
        await sampler.run_once()
    assert len(heard) == 2
    assert heard[0] == heard[1]
    documents = await world.database.handle["queue_history"].count_documents({"meta.type": "noop"})
    assert documents == 1


async def test_a_long_outage_leaves_a_gap(world, overview, mongo):
    sampler = Sampler(overview, mongo.database, heard=lambda _: None)
    clock = Clock(sampler, floor_to(datetime.now(UTC), FINE_SECONDS) + LAG)
    await sampler.run_once()
    clock.at += timedelta(hours=1)
    assert await sampler.run_once() == MOST_LATE.total_seconds() / FINE_SECONDS


def test_metrics_add_up_what_was_heard():
    metrics = ActivityMetrics()
    registry = CollectorRegistry()
    registry.register(metrics)
    one = Activity(counts={"completed": 2, "failed": 1, "retried": 3, "handed_back": 4}, wait={0: 2}, run={40: 3})
    metrics.heard({("crawl", "t"): one})
    metrics.heard({("crawl", "t"): Activity(counts={"completed": 1}, run={80: 1})})
    lines = set(generate_latest(registry).decode().splitlines())
    assert {
        'job_finished_total{outcome="completed",queue="crawl",type="t"} 3.0',
        'job_finished_total{outcome="failed",queue="crawl",type="t"} 1.0',
        'job_retried_total{queue="crawl",type="t"} 3.0',
        'job_handed_back_total{queue="crawl",type="t"} 4.0',
        'job_wait_seconds_bucket{le="0.005",queue="crawl",type="t"} 2.0',
        'job_run_seconds_bucket{le="1.0",queue="crawl",type="t"} 0.0',
        'job_run_seconds_bucket{le="2.5",queue="crawl",type="t"} 3.0',
        'job_run_seconds_count{queue="crawl",type="t"} 4.0',
    } <= lines


def sample(at: datetime, **fields) -> Sample:
    return Sample(at=at, seconds=10, pool="crawl", **fields)


async def test_history_is_answered_by_pool_and_type(world, monitor):
    history = History(world.database)
    await history.ensure()
    at = floor_to(datetime.now(UTC) - timedelta(minutes=5), FINE_SECONDS)
    await history.write(
        [
            sample(at, levels=Levels(high=1, low=2, in_flight=3, oldest_seconds=4, busy=3, slots=4, workers=1)),
            sample(at, type="a", counts={"completed": 10, "failed": 2}, run={40: 12}),
            sample(at, type="b", counts={"completed": 1}, wait={0: 1}),
        ]
    )
    answer = await monitor.get("/v1/history?pool=crawl")
    body = await answer.json()
    HistoryAnswer.model_validate_json(await answer.text())
    assert body["step_seconds"] == 10
    whole, a, b = body["series"]
    assert [(s["pool"], s["type"]) for s in body["series"]] == [("crawl", None), ("crawl", "a"), ("crawl", "b")]
    (levels,) = whole["levels"]
    assert (levels["high"], levels["slots_total"], levels["oldest_waiting_seconds"], levels["peak_waiting"]) == (
        1,
        4,
        4,
        3,
    )
    (counts,) = whole["counts"]
    assert (counts["completed"], counts["failed"], counts["throughput_per_second"]) == (11, 2, 1.3)
    assert a["counts"][0]["run_seconds"]["p50"] == pytest.approx(1.1, rel=0.1)
    assert a["counts"][0]["wait_seconds"]["p50"] is None
    assert b["levels"] == []
    assert (await (await monitor.get("/v1/history?pool=other")).json())["series"] == []
    assert len((await (await monitor.get("/v1/history?pool=crawl&type=b")).json())["series"]) == 2


async def test_what_is_not_rolled_up_yet_is_added_up_on_the_way(world, mongo):
    history = History(world.database)
    await history.ensure()
    now = datetime.now(UTC)
    old, new = floor_to(now - timedelta(minutes=30), MIDDLE_SECONDS), floor_to(now - timedelta(minutes=8), FINE_SECONDS)
    await history.write([Sample(at=old, seconds=300, pool="crawl", type="t", counts={"completed": 5})])
    await history.write(
        [sample(old, type="t", counts={"completed": 5}), sample(new, type="t", counts={"completed": 7})]
    )
    found = await HistoryViews(mongo.database).samples(since=old, until=now, step=MIDDLE_SECONDS)
    assert [item.counts["completed"] for item in found] == [5, 7]


@pytest.mark.parametrize(
    "query",
    [
        "since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z&step=10",
        "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z",
        "step=7",
        "since=yesterday",
    ],
)
async def test_histories_that_cannot_be_drawn_are_refused(monitor, query):
    assert (await monitor.get(f"/v1/history?{query}")).status == 422


def test_the_step_follows_the_span():
    assert [step_for(timedelta(**span)) for span in ({"hours": 1}, {"days": 1}, {"days": 30}, {"days": 900})] == [
        10,
        300,
        3600,
        3600,
    ]


async def test_workers_are_told_with_their_processes(world, monitor):
    await world.healthy()
    (worker,) = (await (await monitor.get("/v1/workers")).json())["workers"]
    assert (worker["host"], worker["state"]) == ("host-a", "alive")
    (child,) = worker["children"]
    assert (child["pool"], child["slots"], child["busy"], child["running"]) == ("crawl", 4, 1, [])


async def test_an_autoscaler_hears_how_many_services_the_work_would_fill(world, monitor):
    await world.healthy()
    running = await world.put()
    await world.wait_in("crawl", running)
    await world.queue.claim("crawl", token="c", count=1)
    await world.wait_in("crawl", *[await world.put() for _ in range(8)])
    answer = await (await monitor.get("/v1/autoscale/crawl")).json()
    assert answer == {"backlog": 8, "running": 1, "desired": 3}
    assert (await (await monitor.get("/v1/autoscale/crawl?slots=9")).json())["desired"] == 1
    assert (await monitor.get("/v1/autoscale/unknown")).status == 404
    assert (await monitor.get("/v1/autoscale/crawl?slots=0")).status == 422


async def test_a_paused_pool_needs_workers_for_what_runs_only(world, monitor):
    await world.healthy()
    await world.database.pools.update_one({"_id": "crawl"}, {"$set": {"paused": True}}, upsert=True)
    await world.wait_in("crawl", await world.put())
    assert (await (await monitor.get("/v1/autoscale/crawl")).json())["desired"] == 0


async def test_an_autoscaler_is_answered_from_mongodb_while_redis_does_not_know(world, monitor):
    await world.pool("mail", complete=False)
    await world.put(pool="mail")
    answer = await (await monitor.get("/v1/autoscale/mail?slots=1")).json()
    assert answer == {"backlog": 1, "running": 0, "desired": 1}


# -- charts ------------------------------------------------------------------------------------------------------------


def test_a_chart_breaks_where_nothing_is_known_and_says_the_same_in_words():
    start = datetime(2026, 5, 1, tzinfo=UTC)
    moments = [start + timedelta(minutes=minute) for minute in range(5)]
    chart = draw("Jobs", moments, [Line("waiting", [0, 4, None, 2, None])], str)
    assert chart.lines[0].path.count("M") == 2
    assert chart.lines[0].path.endswith("h1")
    assert chart.summary == "Jobs: waiting from 0 to 4, at the end 2"
    assert [label for _, label in chart.y_ticks] == ["0.0", "2.5", "5.0"]
    assert len(chart.hovers) == len(chart.rows) == 5
    assert chart.hovers[2][2] == f"01 May 00:02:00 UTC: waiting {DASH}"
    assert all(0 <= float(y) <= HEIGHT for y in chart.lines[0].path.replace("M", "L").split("L")[1].split()[1:])


def test_a_chart_of_nothing_is_empty_and_flat_ones_have_a_scale():
    start = datetime(2026, 5, 1, tzinfo=UTC)
    assert draw("Jobs", [start], [Line("waiting", [None])], str).is_empty
    assert draw("Jobs", [start], [Line("waiting", [0])], str).y_ticks[-1][1] == "1.0"


def test_in_an_interval_that_was_looked_at_what_did_not_happen_is_zero_and_not_a_gap():
    window = WINDOWS["hour"]
    until = datetime(2026, 5, 1, 12, tzinfo=UTC)
    at = until - timedelta(minutes=2)
    samples = [
        sample(at, levels=Levels(medium=6)),
        Sample(at=at, seconds=10, pool="mail", levels=Levels(high=1)),
        sample(at + timedelta(minutes=1), type="t", counts={"completed": 30, "failed": 30}, wait={40: 4}),
    ]
    jobs, rate, wait, _ = draw_all(samples, window, since=until - window.span, until=until)
    assert "waiting from 7 to 7" in jobs.summary
    assert "ended from 0 to 2, at the end 2" in rate.summary
    assert "p50 from 1.1 s" in wait.summary


def test_the_last_minute_is_told_by_pool_and_of_all_whatever_was_before_it():
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    samples = [
        sample(now - timedelta(seconds=60), type="t", counts={"completed": 9000}, wait={80: 9000}),  # over by then
        *[sample(now - timedelta(seconds=10 * age), levels=Levels()) for age in range(6)],
        sample(now, type="t", counts={"completed": 30, "failed": 30}, wait={40: 4}),
        Sample(at=now, seconds=10, pool="mail", type="m", counts={"cancelled": 6}),
    ]
    found = recents_of(samples)
    assert (found[samples[0].pool].ended_per_second, found["mail"].ended_per_second) == (1, 0.1)
    assert found[None].ended_per_second == 1.1
    assert found[None].wait_p95 == pytest.approx(1.1, rel=0.1)
    assert (found["mail"].wait_p95, found[None].run_p95) == (None, None)
    assert recents_of([]) == {}
