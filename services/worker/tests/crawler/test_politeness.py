"""Moments to send: exact to the fraction of a second, and later when the host asks for it."""

from __future__ import annotations

import asyncio

from headrace.worker.crawler import politeness as politeness_module
from headrace.worker.crawler.frontier import Frontier
from headrace.worker.crawler.politeness import Politeness


async def moments(politeness, host, delay, count):
    clock = asyncio.get_running_loop().time
    sent = []

    async def one():
        await politeness.turn(host, delay)
        sent.append(clock())

    await asyncio.gather(*(one() for _ in range(count)))
    return sent


async def test_turns_at_one_host_are_never_closer_than_the_delay():
    begun = asyncio.get_running_loop().time()

    sent = await moments(Politeness(per_host=8), "h", 0.05, 5)

    # Each is due at a fixed moment; a late one does not let the next come early.
    assert all(moment >= begun + n * 0.05 - 0.002 for n, moment in enumerate(sent))


async def test_without_a_delay_nobody_waits_and_hosts_do_not_hold_up_each_other():
    politeness = Politeness(per_host=8)
    politeness.pause("busy", 600)

    async with asyncio.timeout(5):
        assert len(await moments(politeness, "h", 0, 100)) == 100


async def test_a_pause_reaches_those_who_already_wait():
    politeness = Politeness(per_host=8)
    clock = asyncio.get_running_loop().time
    begun = clock()
    waiting = asyncio.create_task(moments(politeness, "h", 0.05, 2))
    await asyncio.sleep(0.01)

    politeness.pause("h", 0.3)
    politeness.pause("h", 0.1)

    assert (await waiting)[-1] >= begun + 0.3


async def test_after_a_pause_the_delay_holds_again_between_those_who_waited():
    politeness = Politeness(per_host=8)
    waiting = asyncio.create_task(moments(politeness, "h", 0.05, 5))
    await asyncio.sleep(0.01)

    paused = asyncio.get_running_loop().time()
    politeness.pause("h", 0.4)

    # From the pause on, not from the first one sent after it: that one may have woken late on a busy machine.
    assert (await waiting)[-1] >= paused + 0.4 + 3 * 0.05 - 0.002


async def test_hosts_that_may_be_asked_again_are_forgotten(monkeypatch):
    monkeypatch.setattr(politeness_module, "FORGET_AT", 100)
    politeness = Politeness(per_host=8)
    for n in range(1000):
        politeness.enter(f"h{n}")
        await politeness.turn(f"h{n}", 1e-9)
        politeness.pause(f"p{n}", 0)
        politeness.leave(f"h{n}")
    for n in range(300):
        politeness.pause(f"busy{n}", 600)

    remembered = len(politeness._next_at) + len(politeness._paused_until) + len(politeness._open)
    assert 300 <= remembered <= 500
    assert all(politeness._paused_until[f"busy{n}"] for n in range(300))


def test_room_is_counted_by_host():
    politeness = Politeness(per_host=2)
    politeness.enter("h")
    politeness.enter("h")

    assert not politeness.has_room("h")
    assert politeness.has_room("other")
    politeness.leave("h")
    assert politeness.has_room("h")


def take_all(frontier, **kwargs):
    taken = []
    while (target := frontier.take(lambda _: True, is_idle=True, **kwargs)) is not None:
        taken.append((target.url, target.depth))
    return taken


def test_the_frontier_gives_levels_in_order_and_hosts_in_turn():
    frontier = Frontier()
    for url, depth in [("http://a/1", 1), ("http://a/2", 0), ("http://a/3", 0), ("http://b/1", 0), ("http://b/1", 3)]:
        frontier.add(url, depth)

    assert len(frontier) == 4
    assert take_all(frontier) == [("http://a/2", 0), ("http://b/1", 0), ("http://a/3", 0), ("http://a/1", 1)]
    assert not frontier.add("http://a/1", 0)
    assert len(frontier) == 0


def test_the_next_level_waits_for_the_last_visit_of_this_one():
    frontier = Frontier()
    frontier.add("http://a/1", 0)
    frontier.add("http://a/2", 1)

    assert frontier.take(lambda _: True, is_idle=True).depth == 0
    assert frontier.take(lambda _: True, is_idle=False) is None
    assert frontier.take(lambda _: False, is_idle=True) is None
    assert frontier.take(lambda _: True, is_idle=True).depth == 1
