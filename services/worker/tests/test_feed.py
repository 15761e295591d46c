"""The gate between claimed jobs and threads."""

from __future__ import annotations

import random
import threading
import time

import pytest

from headrace.testing.builders import make_job
from headrace.worker.feed import Feed
from headrace.worker.held import Held


def jobs(count: int) -> list[Held]:
    return [Held(make_job(), "t") for _ in range(count)]


def feed(slots: int = 2) -> Feed:
    return Feed(slots, lambda: None)


def take(gate: Feed) -> Held:
    held = gate.take(0)
    assert held is not None
    return held


def test_jobs_come_out_in_claim_order_and_only_as_many_as_there_are_threads() -> None:
    gate = feed(slots=2)
    first, second, third = jobs(3)
    gate.put([first, second])
    gate.put([third])
    assert (gate.take(0), gate.take(0), gate.take(0)) == (first, second, None)
    assert (gate.running, gate.waiting) == (2, 1)
    gate.done(first)
    assert gate.take(0) is third


def test_taking_from_an_empty_feed_waits_for_the_time_given() -> None:
    began = time.monotonic()
    assert feed().take(0.05) is None
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize("what", ["put", "done", "close"])
def test_a_waiting_thread_notices_at_once(what: str) -> None:
    gate = feed(slots=1)
    blocker, held = jobs(2)
    if what == "done":
        gate.put([blocker, held])
        assert gate.take(0) is blocker
    taken: list[Held | None] = []
    thread = threading.Thread(target=lambda: taken.append(gate.take(30)))
    thread.start()
    time.sleep(0.02)
    {"put": lambda: gate.put([held]), "done": lambda: gate.done(blocker), "close": gate.close}[what]()
    thread.join(10)
    assert taken == [None if what == "close" else held]


def test_a_closed_feed_hands_out_nothing_not_even_what_waits() -> None:
    gate = feed()
    gate.put(jobs(1))
    gate.close()
    assert gate.take(5) is None
    assert gate.waiting == 1


def test_what_has_waited_too_long_is_taken_back_and_the_rest_stays_in_order() -> None:
    gate = feed()
    old, young, older = jobs(3)
    old.claimed_at -= 5
    older.claimed_at -= 9
    gate.put([old, young, older])
    assert gate.withdraw(older_than_seconds=10) == []
    assert gate.withdraw(older_than_seconds=4) == [old, older]
    assert gate.take(0) is young
    assert gate.withdraw() == []


def test_one_job_is_taken_back_unless_a_thread_has_it() -> None:
    gate = feed()
    one, other = jobs(2)
    gate.put([one, other])
    assert gate.discard(other)
    assert not gate.discard(other)
    assert gate.take(0) is one
    assert not gate.discard(one)


def test_the_feed_says_how_long_its_oldest_job_has_waited() -> None:
    gate = feed()
    assert gate.oldest_seconds() is None
    old, young = jobs(2)
    old.claimed_at -= 5
    gate.put([old, young])
    assert 5 <= (gate.oldest_seconds() or 0) < 10


def test_room_is_announced_when_little_waits_and_not_for_every_job() -> None:
    calls: list[int] = []
    gate = Feed(1, lambda: calls.append(1))
    gate.put(jobs(4))
    for _ in range(4):
        gate.done(take(gate))
    assert len(calls) == 2, "with one and with none waiting; not with three and two"


def test_under_many_threads_never_more_than_the_slots_are_out_and_every_job_comes_out_once() -> None:
    slots, total = 3, 600
    gate = feed(slots)
    out = most = 0
    lock = threading.Lock()
    seen: list[Held] = []
    given = jobs(total)
    done = threading.Event()

    def take(seed: int) -> None:
        nonlocal out, most
        dice = random.Random(seed)
        while not done.is_set():
            held = gate.take(0.05)
            if held is None:
                continue
            with lock:
                out += 1
                most = max(most, out)
                seen.append(held)
                if len(seen) == total:
                    done.set()
            if dice.random() < 0.1:
                time.sleep(0.0005)
            with lock:
                out -= 1
            gate.done(held)

    threads = [threading.Thread(target=take, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    taken_back: list[Held] = []
    dice = random.Random(1)
    for start in range(0, total, 20):
        gate.put(given[start : start + 20])
        if dice.random() < 0.3:
            taken_back = gate.withdraw()
            gate.put(taken_back)
    assert done.wait(20)
    for thread in threads:
        thread.join(10)
    assert most <= slots
    assert (gate.running, gate.waiting) == (0, 0)
    assert sorted(held.job.id for held in seen) == sorted(held.job.id for held in given)


def test_fewer_slots_are_held_only_when_jobs_have_ended() -> None:
    told: list[tuple[int, bool]] = []
    gate = Feed(3, lambda: None, on_held=lambda held, spent: told.append((held, spent)))
    gate.put(jobs(5))
    first, second, third = [take(gate) for _ in range(3)]
    gate.resize(1)
    assert (gate.slots, gate.take(0), told) == (1, None, [(3, False)])
    gate.done(first)
    gate.done(second)
    assert told[-1] == (1, False)
    assert gate.take(0) is None
    gate.done(third)
    assert gate.take(0)
    gate.resize(2)
    assert told[-1] == (2, False)
    assert gate.take(0)


def test_so_many_jobs_and_no_more() -> None:
    told: list[tuple[int, bool]] = []
    gate = Feed(2, lambda: None, max_jobs=3, on_held=lambda held, spent: told.append((held, spent)))
    assert gate.left == 3
    gate.put(jobs(2))
    assert gate.left == 1, "what waits here will be taken"
    for held in [take(gate), take(gate)]:
        gate.done(held)
    assert told[-1] == (1, False)
    gate.put(jobs(2))
    assert gate.left == 0
    last = take(gate)
    assert gate.take(0) is None
    assert told[-1] == (1, True)
    gate.done(last)
    assert told[-1] == (0, True)
    assert gate.take(0) is None
    assert len(gate.withdraw()) == 1


def test_the_feed_says_how_many_jobs_have_run_for_longer_than_others_may() -> None:
    gate = feed(slots=3)
    gate.put(jobs(3))
    quick, slow, late = [take(gate) for _ in range(3)]
    assert gate.running_longer_than(1) == 0, "none of them has begun"
    quick.started_at, slow.started_at = time.monotonic() - 0.1, time.monotonic() - 5
    assert gate.running_longer_than(1) == 1
    gate.done(slow)
    assert gate.running_longer_than(1) == 0
    gate.done(late)
    assert gate.running == 1
