"""Hostile contents of Redis: whatever somebody wrote into our keys, a verb answers or refuses in our own words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis_harness import POOL, VERBS, complete

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.queue import Entry, Hints, RedisJobQueue
from headrace.runtime.queue.keys import Keys

JUNK = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b"a", b"\x80\x04\x95.", b"0", b"-1", b"nan", b"1e999", b"x:1", b"a b", b"{}", b"\r\n", b"%s" * 20]
    ),
)
SCORES = st.one_of(
    st.sampled_from([0.0, -1.0, float("inf"), float("-inf"), 2.0**60, 1e308]), st.floats(allow_nan=False)
)
CONTENTS = st.one_of(
    st.tuples(st.just("zset"), st.dictionaries(JUNK, SCORES, min_size=1, max_size=4)),
    st.tuples(st.just("hash"), st.dictionaries(JUNK, JUNK, min_size=1, max_size=4)),
    st.tuples(st.just("list"), st.lists(JUNK, min_size=1, max_size=4)),
    st.tuples(st.just("string"), JUNK),
)
NAMES = (
    "ready",
    "delayed",
    "score",
    "inflight",
    "holder",
    "reserved",
    "paused",
    "epoch",
    "rebuilding",
    "claims",
    "drained",
)


async def put(redis: Redis, key: str, kind: str, value: Any) -> None:
    """Replace the key by what somebody forged."""
    await redis.delete(key)
    match kind:
        case "zset":
            await redis.zadd(key, value)
        case "hash":
            await redis.hset(key, mapping=value)
        case "list":
            await redis.rpush(key, *value)
        case _:
            await redis.set(key, value)


@pytest.mark.parametrize("examples", [8, pytest.param(60, marks=pytest.mark.slow)])
async def test_whatever_stands_in_redis_a_verb_answers_or_refuses(redis: Redis, namespace: str, examples: int) -> None:
    """And once the junk is gone and the pool rebuilt, everything works as before."""
    queue = RedisJobQueue(redis, namespace=namespace)
    hints = Hints(redis, namespace)
    keys = Keys(namespace)
    pool = keys.pool(POOL)
    places = {name: getattr(pool, name) for name in NAMES}
    places |= {"claim": pool.claim("t"), "beats": keys.beats, "seen": keys.beats_seen, "events": keys.event_log}
    cases: list[dict[str, tuple[str, Any]]] = []

    # Hypothesis wants a plain function: the contents are drawn first, and tried on the loop afterwards.
    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(st.dictionaries(st.sampled_from(sorted(places)), CONTENTS, min_size=1, max_size=5))
    def draw(case: dict[str, tuple[str, Any]]) -> None:
        cases.append(case)

    draw()
    answered = 0
    refusals: list[str] = []
    calls = [*VERBS.values(), lambda _: hints.heartbeats()]
    for case in cases:
        for call in calls:
            for place, (kind, value) in case.items():
                await put(redis, places[place], kind, value)
            try:
                await call(queue)
                answered += 1
            except StoreUnavailableError as error:
                refusals.append(error.detail)
        await redis.delete(*places.values())
    assert answered > 10 * examples
    assert len(refusals) > examples
    assert all(len(text) < 200 and "Traceback" not in text for text in refusals)
    await complete(queue)
    assert await queue.enqueue(POOL, [Entry("honest", 1)]) == 1
    assert (await queue.claim(POOL, token="after", count=5)).ids == ("honest",)
