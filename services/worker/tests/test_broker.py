"""Dramatiq's worker over our broker: real threads, the real event loop thread, no store."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.asyncio import EventLoopThread, get_event_loop_thread

from headrace.testing.builders import make_job
from headrace.worker.broker import QUEUE, JobBroker, to_message
from headrace.worker.feed import Feed
from headrace.worker.held import Held, Phase

SLOTS = 3


class Rig:
    """A running worker whose jobs are plain functions, and what came back."""

    def __init__(self) -> None:
        self.thread = EventLoopThread(logging.getLogger("test"), interrupt_check_ival=60)
        self.feed = Feed(SLOTS, lambda: None)
        self.back: list[Held] = []
        self.body: Callable[[Held], None] = lambda _: None
        self.broker = JobBroker(feed=self.feed, run=lambda held: self.body(held), done=self._done, thread=self.thread)
        self.worker = dramatiq.Worker(self.broker, worker_threads=SLOTS, worker_timeout=50)
        self.broker.declare_types(["a", "b"])
        self.stopped = False

    def _done(self, held: Held) -> None:
        self.back.append(held)

    def start(self) -> None:
        self.worker.start()

    def put(self, count: int, type_: str = "a") -> list[Held]:
        held = [Held(make_job(type=type_), "t") for _ in range(count)]
        self.feed.put(held)
        return held

    def all_back(self, held: list[Held], *, within: float = 10) -> None:
        until = time.monotonic() + within
        while len(self.back) < len(held):
            assert time.monotonic() < until, f"{len(self.back)} of {len(held)} came back"
            time.sleep(0.005)

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.feed.close()
            self.worker.stop(timeout=5000)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.stop()
    if not rig.thread.loop.is_closed():
        rig.thread.loop.close()


def test_jobs_of_every_type_run_and_come_back_once(rig: Rig) -> None:
    seen: list[str] = []
    rig.body = lambda held: seen.append(held.job.id)
    rig.start()
    held = [held for _ in range(20) for held in (*rig.put(1, "a"), *rig.put(1, "b"))]
    rig.all_back(held)
    assert sorted(seen) == sorted(item.job.id for item in held)
    assert len(rig.back) == len(held)
    assert (rig.feed.running, rig.feed.waiting) == (0, 0)


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_exactly_as_many_jobs_run_at_once_as_there_are_slots(rig: Rig, kind: str) -> None:
    together = threading.Barrier(SLOTS)
    running = most = 0
    lock = threading.Lock()

    def enter(change: int) -> None:
        nonlocal running, most
        with lock:
            running += change
            most = max(most, running)

    async def wait() -> None:
        enter(1)
        await asyncio.to_thread(together.wait, 10)
        enter(-1)

    def body(_: Held) -> None:
        if kind == "coroutine":
            rig.thread.run_coroutine(wait())
        else:
            enter(1)
            together.wait(10)
            enter(-1)

    rig.body = body
    rig.start()
    held = rig.put(SLOTS * 3)
    rig.all_back(held)
    assert most == SLOTS
    assert not together.broken


def test_no_job_leaves_our_hands_before_a_thread_is_free(rig: Rig) -> None:
    release = threading.Event()
    rig.body = lambda _: release.wait(10) and None
    rig.start()
    held = rig.put(SLOTS + 4)
    until = time.monotonic() + 5
    while rig.feed.running < SLOTS and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(0.1)
    assert (rig.feed.running, rig.feed.waiting) == (SLOTS, 4)
    assert rig.feed.withdraw() == held[SLOTS:], "what has not started can be handed back"
    release.set()
    rig.all_back(held[:SLOTS])


@pytest.mark.parametrize("error", [RuntimeError("x"), SystemExit(1), KeyboardInterrupt()])
def test_a_raising_actor_never_loses_its_message_and_its_thread_goes_on(rig: Rig, error: BaseException) -> None:
    def body(held: Held) -> None:
        if held.job.type == "b":
            raise error

    rig.body = body
    rig.start()
    held = [*rig.put(SLOTS * 2, "b"), *rig.put(3, "a")]
    rig.all_back(held)
    assert {item.job.id for item in rig.back} == {item.job.id for item in held}
    assert rig.feed.running == 0


def test_a_job_of_an_undeclared_type_comes_back_unstarted(rig: Rig) -> None:
    rig.start()
    held = rig.put(1, "nobody-declared-this")
    rig.all_back(held)
    assert rig.back[0].phase is Phase.WAITING


def test_what_dramatiq_took_and_no_thread_started_comes_back_at_shutdown(rig: Rig) -> None:
    held = rig.put(2)
    messages = [rig.feed.take(0) for _ in range(2)]
    assert messages == held
    consumer = rig.broker.consume(QUEUE, timeout=10)
    consumer.requeue([to_message(item) for item in held])
    assert rig.back == held
    assert [item.phase for item in rig.back] == [Phase.WAITING, Phase.WAITING]
    assert rig.feed.running == 0


def test_stopping_the_worker_hands_back_what_waits_in_its_own_queue(rig: Rig) -> None:
    release = threading.Event()
    rig.body = lambda _: release.wait(10) and None
    rig.start()
    running = rig.put(SLOTS)
    until = time.monotonic() + 5
    while rig.feed.running < SLOTS and time.monotonic() < until:
        time.sleep(0.005)
    extra = Held(make_job(type="a"), "t")
    rig.worker.consumers[QUEUE].handle_message(to_message(extra))
    threading.Timer(0.1, release.set).start()
    rig.stop()
    assert {item.job.id for item in rig.back} >= {item.job.id for item in running}
    assert extra in rig.back


def test_nothing_can_be_sent_through_the_broker(rig: Rig) -> None:
    actor = rig.broker.get_actor("a")
    with pytest.raises(RuntimeError, match="submitted to the scheduler"):
        actor.send("x")


def test_the_event_loop_runs_exactly_as_long_as_the_worker(rig: Rig) -> None:
    assert not rig.thread.loop.is_running()
    rig.start()
    assert rig.thread.loop.is_running()
    assert get_event_loop_thread() is rig.thread
    rig.stop()
    assert get_event_loop_thread() is None
    assert rig.thread.loop.is_closed()


def test_the_middleware_is_ours_alone(rig: Rig) -> None:
    names = [type(item).__name__ for item in rig.broker.middleware]
    assert names == ["LoopThread"], "no retries, limits or pipelines of Dramatiq's: that is state, and lives in MongoDB"


def test_declaring_the_queue_again_changes_nothing(rig: Rig) -> None:
    before = dict(rig.broker.queues)
    rig.broker.declare_queue(QUEUE)
    assert rig.broker.queues == before


def test_an_idle_consumer_answers_with_nothing_after_its_time(rig: Rig) -> None:
    consumer: Any = rig.broker.consume(QUEUE, timeout=20)
    assert next(consumer) is None
