from __future__ import annotations

import asyncio

import pytest

from headrace.contracts.errors import NotFoundError, OutcomeUnknownError, StoreUnavailableError
from headrace.runtime.process.breaker import Breaker, BreakerOpenError, BreakerState


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Store:
    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return "answer"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def breaker(clock) -> Breaker:
    return Breaker("redis", failures=3, reset_seconds=2.0, clock=clock)


async def fail(breaker: Breaker, store: Store, times: int, error: type[StoreUnavailableError] = StoreUnavailableError):
    store.error = error()
    for _ in range(times):
        with pytest.raises(error):
            await breaker.call(store)
    store.error = None


async def test_calls_go_through_while_it_is_closed(breaker, store):
    assert await breaker.call(store) == "answer"
    assert breaker.state is BreakerState.CLOSED


async def test_it_opens_after_failures_in_a_row_and_then_refuses_at_once(breaker, store):
    await fail(breaker, store, 3)
    with pytest.raises(BreakerOpenError) as refused:
        await breaker.call(store)
    assert store.calls == 3
    assert refused.value.code == "store-unavailable"
    assert refused.value.retry_after_seconds == 2.0
    assert breaker.snapshot() == breaker.snapshot().__class__("redis", BreakerState.OPEN, 3, 1, 2.0)


async def test_an_answer_in_between_starts_the_count_anew(breaker, store):
    await fail(breaker, store, 2)
    await breaker.call(store)
    await fail(breaker, store, 2)
    assert breaker.state is BreakerState.CLOSED


async def test_an_unknown_outcome_counts_and_a_refusal_counts_as_an_answer(breaker, store):
    await fail(breaker, store, 2, OutcomeUnknownError)
    store.error = NotFoundError()
    with pytest.raises(NotFoundError):
        await breaker.call(store)
    await fail(breaker, store, 2)
    assert breaker.state is BreakerState.CLOSED


async def test_after_the_reset_one_answer_closes_it(breaker, store, clock):
    await fail(breaker, store, 3)
    clock.now += 2
    assert breaker.state is BreakerState.HALF_OPEN
    assert await breaker.call(store) == "answer"
    assert breaker.state is BreakerState.CLOSED
    assert breaker.snapshot().failures == 0


async def test_a_failed_probe_opens_it_for_another_while(breaker, store, clock):
    await fail(breaker, store, 3)
    clock.now += 2
    await fail(breaker, store, 1)
    assert breaker.state is BreakerState.OPEN
    assert breaker.snapshot().opened == 2


async def test_only_one_call_probes(breaker, store, clock):
    await fail(breaker, store, 3)
    clock.now += 2
    release = asyncio.Event()
    probe = asyncio.create_task(breaker.call(release.wait))
    await asyncio.sleep(0)
    with pytest.raises(BreakerOpenError):
        await breaker.call(store)
    release.set()
    assert await probe is True
    assert await breaker.call(store) == "answer"


async def test_a_cancelled_probe_leaves_the_way_to_the_next(breaker, store, clock):
    await fail(breaker, store, 3)
    clock.now += 2
    probe = asyncio.create_task(breaker.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert await breaker.call(store) == "answer"


async def test_what_began_before_the_outage_neither_ends_nor_prolongs_it(breaker, store, clock):
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    bad: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    early = asyncio.create_task(breaker.call(lambda: gate))
    failing = asyncio.create_task(breaker.call(lambda: bad))
    await asyncio.sleep(0)
    await fail(breaker, store, 3)
    clock.now += 1
    gate.set_result("late")
    bad.set_exception(StoreUnavailableError())
    assert await early == "late"
    with pytest.raises(StoreUnavailableError):
        await failing
    assert breaker.snapshot().retry_in_seconds == 1.0
    assert breaker.snapshot().opened == 1
