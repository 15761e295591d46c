"""`Retry-After` from the measured drain rate, and the throughput of a pool."""

from __future__ import annotations

import asyncio

import pytest

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.process.breaker import Breaker
from headrace.scheduler import rates
from headrace.scheduler.links import RedisLink
from headrace.scheduler.rates import DrainRates
from headrace.testing.eventually import eventually


class Counter:
    """Stands for the count of what left a pool; the real one is tested where it is made."""

    def __init__(self):
        self.value = 0
        self.is_away = False

    async def drained(self, _pool):
        if self.is_away:
            raise StoreUnavailableError("away")
        return self.value


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def counter():
    return Counter()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def drain(counter, clock):
    return DrainRates(counter, RedisLink(Breaker("redis")), clock)


async def test_nothing_is_known_at_first(drain):
    assert drain.wait_seconds("p") == rates.UNKNOWN_SECONDS
    assert await drain.throughput_per_second("p") is None


async def test_the_wait_follows_the_rate(drain, counter, clock):
    drain.watch("p")
    await drain.run_once()
    clock.now, counter.value = clock.now + 10, 5
    await drain.run_once()
    assert await drain.throughput_per_second("p") == 0.5
    assert [drain.wait_seconds("p") for _ in range(3)] == [2, 4, 6], "the refused compete for what drains"
    await drain.run_once()
    assert drain.wait_seconds("p") == 2


@pytest.mark.parametrize(("drained", "wait"), [(100_000, 1), (0, 30), (1, 30)])
async def test_the_wait_is_at_least_a_second_and_a_pool_that_stands_still_has_a_wait_too(
    drain, counter, clock, drained, wait
):
    drain.watch("p")
    await drain.run_once()
    clock.now, counter.value = clock.now + 30, drained
    await drain.run_once()
    assert drain.wait_seconds("p") == wait


async def test_the_wait_is_at_most_five_minutes(drain, clock):
    drain.watch("p")
    await drain.run_once()
    clock.now += 30
    await drain.run_once()
    assert [drain.wait_seconds("p") for _ in range(50)][-1] == rates.MAX_WAIT_SECONDS


async def test_only_the_last_half_minute_counts_and_a_lost_count_begins_anew(drain, counter, clock):
    drain.watch("p")
    for second in range(100):
        clock.now += 1
        counter.value += 1000 if second < 50 else 1
        await drain.run_once()
    assert await drain.throughput_per_second("p") == 1.0
    counter.value = 0
    await drain.run_once()
    assert await drain.throughput_per_second("p") is None


async def test_without_redis_nothing_is_known_and_nothing_fails(drain, counter, clock):
    counter.is_away = True
    assert await drain.throughput_per_second("p") is None
    with pytest.raises(StoreUnavailableError):
        await drain.run_once()
    counter.is_away = False
    await drain.run_once()
    clock.now += 5
    await drain.run_once()
    assert await drain.throughput_per_second("p") == 0
    clock.now += 100
    assert await drain.throughput_per_second("p") is None, "what was seen long ago tells nothing"


async def test_pools_that_are_watched_are_bounded(drain):
    for n in range(rates.MAX_POOLS + 10):
        drain.watch(f"p{n}")
    assert len(drain._samples) == rates.MAX_POOLS


async def test_a_refusal_says_when_a_place_is_free_by_what_really_drains(make_api, config, queue):
    api = await make_api(config.model_copy(update={"queue_size_limit": 1}))
    await api.complete()
    job = await api.submit()
    first = await api.post({"type": "any", "payload": 1})
    assert first.headers["Retry-After"] == "2", "not measured yet"

    async def asked():
        response = await api.post({"type": "any", "payload": 1})
        await api.problem(response, 429, "queue-full")
        return int(response.headers["Retry-After"])

    async def is_measured():
        # Nothing drains, so the wait grows with the time that was watched.
        return await asked() > 2

    await eventually(is_measured, within=15, every=0.3)
    await queue.settle("default", [job["id"]])
    assert await queue.drained("default") == 1
    await asyncio.sleep(0)
