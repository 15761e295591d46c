"""Room by counts: interleavings of everything that takes part, with the truth beside it."""

from __future__ import annotations

import asyncio
import random

import pytest

from headrace.scheduler import counted
from headrace.scheduler.counted import CountedRoom
from headrace.scheduler.tasks import Tasks

POOL = "default"


class World:
    """Pending jobs as they are; every step of a store takes a number of turns of the loop that a seed decides."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.pending, self.most, self.counts = 0, 0, 0
        self.let_in = 0
        """Let in and not stored yet."""
        self.loads: list[int] = []
        """Pending and let in, after each change."""

    def changed(self, *, pending: int = 0, let_in: int = 0) -> None:
        self.pending += pending
        self.let_in += let_in
        self.most = max(self.most, self.pending)
        self.loads.append(self.pending + self.let_in)

    async def turns(self, most: int) -> None:
        for _ in range(self.dice.randrange(most)):
            await asyncio.sleep(0)

    async def count(self, _pool: str, cap: int) -> int:
        self.counts += 1
        await self.turns(8)
        found = min(self.pending, cap)
        await self.turns(8)
        return found

    async def store(self, number: int) -> None:
        self.changed(let_in=number)
        await self.turns(6)
        self.changed(let_in=-number, pending=number)
        await self.turns(6)

    def end_one(self) -> None:
        self.changed(pending=-(self.pending > 0))


@pytest.mark.parametrize("base", range(0, 200, 25))
async def test_no_order_of_steps_passes_the_bound_or_refuses_what_has_room(base: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counted, "MAX_UNSEEN", 12)
    monkeypatch.setattr(counted, "AHEAD", 6)
    for seed in range(base, base + 25):
        world, tasks = World(seed), Tasks()
        room = CountedRoom(world.count, tasks)
        bound = world.dice.choice((3, 10, 30))
        world.changed(pending=world.dice.randrange(bound + 1))
        refused_with_room = 0

        async def client(world: World, room: CountedRoom, bound: int) -> None:
            nonlocal refused_with_room
            for _ in range(8):
                wanted = world.dice.randrange(1, 4)
                asked = len(world.loads) - 1
                async with room.let_in(POOL, [bound] * wanted) as number:
                    assert 0 <= number <= wanted
                    refused_with_room += number < wanted and max(world.loads[asked:]) + number < bound
                    await world.store(number)
                if world.dice.random() < 0.5:
                    world.end_one()

        await asyncio.gather(*(client(world, room, bound) for _ in range(4)))
        await tasks.drain()
        assert world.most <= bound, f"seed {seed}"
        assert refused_with_room == 0, f"seed {seed}"
        assert room.admitted(POOL) == 0


async def test_a_count_that_met_its_cap_says_nothing_about_a_bound_that_grew():
    world = World(1)
    world.pending = 10
    room = CountedRoom(world.count, Tasks())
    async with room.let_in(POOL, [5]) as number:
        assert number == 0
    async with room.let_in(POOL, [9]) as number:
        assert number == 0, "the count of before found 6 and stopped"
    async with room.let_in(POOL, [11, 11]) as number:
        assert number == 1


async def test_what_is_stored_by_places_counts_beside_a_count():
    world = World(2)
    room = CountedRoom(world.count, Tasks())
    with room.placed(POOL, 3) as places:
        async with room.let_in(POOL, [3]) as number:
            assert number == 0, "they may all be stored"
        places.grant(2)
        async with room.let_in(POOL, [3, 3]) as number:
            assert number == 1
        await world.store(2)
    assert world.counts == 2
    async with room.let_in(POOL, [3, 3]) as number:
        assert (number, world.counts) == (1, 3)


async def test_the_next_count_begins_before_it_is_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counted, "MAX_UNSEEN", 100)
    monkeypatch.setattr(counted, "AHEAD", 50)
    world, tasks = World(3), Tasks()
    room = CountedRoom(world.count, tasks)
    waited = 0
    for _ in range(400):
        before = world.counts
        async with room.let_in(POOL, [1000]) as number:
            assert number == 1
            waited += world.counts > before
            await world.store(number)
    await tasks.drain()
    assert waited == 1, "the first alone"
    assert 5 <= world.counts <= 10


async def test_a_failed_count_leaves_the_known_one_as_it_is():
    calls = 0

    async def count(_pool: str, _cap: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise ConnectionError
        return 0

    room = CountedRoom(count, Tasks())
    async with room.let_in(POOL, [2]) as number:
        assert number == 1
    with pytest.raises(ConnectionError):
        async with room.let_in(POOL, [1]):
            pass
    async with room.let_in(POOL, [2]) as number:
        assert number == 1
    assert calls == 2


async def test_two_schedulers_pass_a_bound_together_by_one_batch_at_most(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counted, "MAX_UNSEEN", 12)
    world = World(4)
    rooms = [CountedRoom(world.count, Tasks()) for _ in range(2)]

    async def submit(room: CountedRoom, times: int) -> None:
        for _ in range(times):
            async with room.let_in(POOL, [50]) as number:
                await world.store(number)

    await submit(rooms[0], 1)
    await submit(rooms[1], 100)  # to the bound
    assert world.pending == 50
    await submit(rooms[0], 100)  # by a count of long ago, as far as that goes
    assert world.pending == 50 + 12 - 1


async def test_a_redis_that_knows_the_pool_again_is_asked_and_counts_of_before_are_forgotten():
    world = World(5)
    room = CountedRoom(world.count, Tasks())
    async with room.let_in(POOL, [50]):
        pass
    with room.placed(POOL, 1) as places:
        places.grant(1)
    async with room.let_in(POOL, [50]):
        assert world.counts == 2
