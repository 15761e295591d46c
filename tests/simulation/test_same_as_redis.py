"""The model Redis does what a real one does: the behaviour suite on both, and any sequence of verbs with equal answers.

This is also a second opinion about our Lua: the model's scripts are written from their headers alone.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from tests.simulation.twins import answer_of, for_any, model_queue, plain, redis_model

from headrace.local.stores import RedisServer
from headrace.runtime.queue import Entry, InFlight, RedisJobQueue, Verdict, redis_client

POOL = "crawl"
IDS = [f"job-{number}" for number in range(6)]
TOKENS = ["w-1.a", "w-1.b", "w-2.c"]
FAR_MS = 2**50
OLD_MS = 10**11

some_id = st.sampled_from(IDS)
some_ids = st.lists(some_id, max_size=4)
some_token = st.sampled_from(TOKENS)
some_score = st.sampled_from([1, 2, 2**43 + 1, 2**44 + 7])
some_due = st.sampled_from([0, 1, FAR_MS])
entries = st.lists(st.builds(Entry, some_id, some_score, some_due, st.sampled_from([*TOKENS, ""])), max_size=4)
verdicts = st.lists(
    st.builds(Verdict, some_id, st.sampled_from(["drop", "delayed", "leave"]), some_due, some_score), max_size=4
)
running = st.lists(
    st.builds(InFlight, some_id, st.sampled_from([1, FAR_MS]), st.sampled_from([*TOKENS, None])), max_size=4
)


async def sweep(queue: RedisJobQueue, said: list[Verdict], changed: bool, age: int) -> int:
    """Sweep what is in flight now, or what was seen otherwise."""
    seen = await queue.in_flight(POOL, older_than_ms=0, limit=100)
    if changed:
        seen = [InFlight(entry.id, entry.claimed_ms + 1, entry.token) for entry in seen]
    return await queue.sweep(POOL, seen=seen, verdicts=said, min_age_ms=age)


async def relocate(queue: RedisJobQueue, wanted: list[Entry]) -> int:
    """Move what waits."""
    located = {found.id: found for found in await queue.locate(POOL, IDS)}
    moves = [(located[entry.id], entry) for entry in wanted if located[entry.id].place in ("ready", "delayed")]
    return await queue.relocate(POOL, moves)


async def rebuild(queue: RedisJobQueue, within_ms: int | None = None) -> bool:
    """Declare it complete, or do so too late."""
    marker, now_ms = await queue.begin_rebuild(POOL), await queue.time_ms()
    return await queue.finish_rebuild(POOL, marker, by_ms=None if within_ms is None else now_ms + within_ms)


async def expired(queue: RedisJobQueue) -> list[str]:
    """Which places are past their time: the dues are apart far enough for their order to be the same."""
    return sorted(await queue.expired_reservations(POOL))


async def reserve(queue: RedisJobQueue, ids: list[str], limit: int, ttl_ms: int) -> Any:
    """Reserve, and let a short place lapse."""
    found = await queue.reserve(POOL, ids, limit=limit, ttl_ms=ttl_ms)
    if ttl_ms == 1:
        await asyncio.sleep(0.002)
    return found


Verb = Callable[..., Awaitable[Any]]
VERBS: dict[str, tuple[Verb, st.SearchStrategy[tuple[Any, ...]]]] = {
    "reserve": (reserve, st.tuples(some_ids, st.sampled_from([1, 3, 100]), st.sampled_from([1, 60_000]))),
    "enqueue": (lambda q, found, drop: q.enqueue(POOL, found, drop=drop), st.tuples(entries, some_ids)),
    "refill": (
        lambda q, found: q.refill(POOL, [(entry.id, entry.score) for entry in found]),
        st.tuples(entries),
    ),
    "claim": (
        lambda q, token, count: q.claim(POOL, token=token, count=count),
        st.tuples(some_token, st.integers(0, 3)),
    ),
    "settle": (lambda q, ids: q.settle(POOL, ids), st.tuples(some_ids)),
    "requeue": (lambda q, found: q.requeue(POOL, found), st.tuples(entries)),
    "release": (lambda q, found: q.release(POOL, found), st.tuples(entries)),
    "putback": (lambda q, token, said: q.putback(POOL, token=token, verdicts=said), st.tuples(some_token, verdicts)),
    "promote": (lambda q: q.promote(POOL), st.just(())),
    "sweep": (sweep, st.tuples(verdicts, st.booleans(), st.sampled_from([0, OLD_MS]))),
    "relocate": (relocate, st.tuples(entries)),
    "rescore": (lambda q, found: q.rescore(POOL, found), st.tuples(entries)),
    "adopt": (lambda q, found: q.adopt(POOL, found), st.tuples(running)),
    "free": (lambda q, ids: q.free(POOL, ids), st.tuples(some_ids)),
    "tidy": (lambda q: q.tidy(POOL), st.just(())),
    "expired": (expired, st.just(())),
    "in_flight": (
        lambda q, age: q.in_flight(POOL, older_than_ms=age, limit=2, offset=0),
        st.tuples(st.sampled_from([OLD_MS])),
    ),
    "pause": (lambda q, on: q.pause(POOL, on, "why"), st.tuples(st.booleans())),
    "depths": (lambda q: q.depths(POOL), st.just(())),
    "rebuild": (rebuild, st.tuples(st.sampled_from([None, -10_000, 10_000]))),
    "drained": (lambda q: q.drained(POOL), st.just(())),
    "finish_other": (lambda q: q.finish_rebuild(POOL, "abc:1"), st.just(())),
}
step = st.one_of([st.tuples(st.just(name), arguments) for name, (_, arguments) in VERBS.items()])
steps = st.lists(step | st.just(("lose everything", ())), min_size=5, max_size=40)


class Pair:
    """A real queue and a model one."""

    def __init__(self, server: RedisServer, name: str) -> None:
        self.redis = redis_client(server.url, kind="command", name="twin")
        self.model = redis_model()
        self.real_queue = RedisJobQueue(self.redis, namespace=name)
        self.model_queue = model_queue(self.model, name)

    async def both(self, call: Callable[[RedisJobQueue], Awaitable[Any]]) -> tuple[Any, Any]:
        """What each answers."""
        now_ms = int(time.time() * 1000)
        return (
            plain(await answer_of(call(self.real_queue)), now_ms),
            plain(await answer_of(call(self.model_queue)), now_ms),
        )

    async def lose_everything(self) -> None:
        """Flush both."""
        await self.redis.flushall()
        self.model.flush()

    async def run(self, sequence: list[tuple[str, tuple[Any, ...]]]) -> None:
        """Do the same on both and compare, after each step where every id is too."""
        await self.lose_everything()
        for number, (name, arguments) in enumerate([("rebuild", ()), *sequence]):
            if name == "lose everything":
                await self.lose_everything()
            else:
                verb = VERBS[name][0]
                real, model = await self.both(lambda queue, verb=verb, arguments=arguments: verb(queue, *arguments))
                assert model == real, f"step {number}: {name}{arguments}"
            for look in (lambda queue: queue.locate(POOL, IDS), lambda queue: queue.depths(POOL)):
                real, model = await self.both(look)
                assert model == real, f"after step {number}: {name}{arguments}"


def compare(server: RedisServer, examples: int) -> None:
    """Run so many sequences."""
    with asyncio.Runner() as runner:
        pair = Pair(server, "twins")
        try:
            for_any(examples, steps, lambda sequence: runner.run(pair.run(sequence)))
        finally:
            runner.run(pair.redis.aclose())


def test_any_sequence_of_verbs_has_equal_answers(own_redis: RedisServer) -> None:
    compare(own_redis, 25)


@pytest.mark.slow
def test_any_of_many_sequences_has_equal_answers(own_redis: RedisServer) -> None:
    compare(own_redis, 400)


async def test_a_restart_forgets_scripts_and_makes_the_pool_incomplete(own_redis: RedisServer) -> None:
    """Whether the data comes back or not."""
    pair = Pair(own_redis, "twins")
    await pair.both(rebuild)
    await pair.both(lambda queue: queue.enqueue(POOL, [Entry("a", 1)]))
    for keeps in (True, False):
        own_redis.restart(keep_data=keeps)
        pair.model.restart(None if keeps else {})
        await answer_of(pair.real_queue.ping())  # finds its old connection closed
        for call in (
            lambda queue: queue.is_complete(POOL),
            lambda queue: queue.locate(POOL, ["a"]),
            lambda queue: queue.reserve(POOL, ["b"], limit=9),
        ):
            real, model = await pair.both(call)
            assert model == real
    await pair.redis.aclose()


def _load(name: str) -> Any:
    folder = Path(__file__).parents[2] / "packages/runtime/tests/queue"
    spec = importlib.util.spec_from_file_location(f"simulated_{name}", folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


BEHAVIOURS = _load("behaviour").BEHAVIOURS
HARNESS = _load("redis_harness").RedisHarness


@pytest.fixture(params=["model", pytest.param("real", marks=pytest.mark.slow)])
async def queue(request: pytest.FixtureRequest, redis_url: str, namespace: str) -> AsyncIterator[RedisJobQueue]:
    """A complete queue of each kind."""
    if request.param == "model":
        found = model_queue(redis_model(), namespace)
    else:
        found = RedisJobQueue(redis_client(redis_url, kind="command", name="twin"), namespace=namespace)
    assert await rebuild(found)
    yield found
    await found.close()


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda check: check.__name__)
async def test_both_behave_as_every_queue(behaviour: Any, queue: RedisJobQueue) -> None:
    await behaviour(HARNESS(queue))
