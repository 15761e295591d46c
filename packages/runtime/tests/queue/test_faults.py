"""What a missing, a stalled or a full server does to the verbs, and what a repeat does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from redis.asyncio import Redis
from redis_harness import POOL, VERBS, RedisHarness, Verb, dump

from headrace.contracts.errors import StoreUnavailableError
from headrace.local.stores import RedisServer
from headrace.runtime.queue import Entry, RedisJobQueue, Verdict, redis_client
from headrace.testing.eventually import eventually


@pytest.fixture
def paused(own_server: RedisServer) -> Iterator[Callable[[], None]]:
    """Freezes the server; it is woken at the end of the test whatever happens."""
    yield own_server.pause
    own_server.resume()


def impatient(server: RedisServer, namespace: str) -> RedisJobQueue:
    client = redis_client(server.url, kind="command", name="impatient", answer_seconds=0.2)
    return RedisJobQueue(client, namespace=namespace)


@pytest.mark.parametrize("verb", VERBS)
async def test_without_a_server_every_verb_says_so(own_server: RedisServer, namespace: str, verb: str) -> None:
    """As our error, with a reason that holds no address."""
    own_server.kill()
    queue = impatient(own_server, namespace)
    with pytest.raises(StoreUnavailableError, match=r"^no connection to Redis$"):
        await VERBS[verb](queue)
    await queue.close()


async def test_a_repeated_claim_gets_the_ids_that_a_stalled_server_took(
    own_server: RedisServer, own_harness: RedisHarness, paused: Callable[[], None], namespace: str
) -> None:
    """Hazard 5: the caller times out, the server does it all the same; the repeat gets these ids and no others."""
    for _ in range(20):
        await own_harness.waiting()
    queue = impatient(own_server, namespace)
    known: list[str] = []
    for number in range(5):
        await queue.claim(POOL, token=f"warm{number}", count=0)
        paused()
        with pytest.raises(StoreUnavailableError, match="did not answer in time"):
            await queue.claim(POOL, token=f"t{number}", count=2)
        own_server.resume()
        known += (await queue.claim(POOL, token=f"t{number}", count=2)).ids
    taken = await own_harness.queue.in_flight(POOL, older_than_ms=0, limit=100)
    assert sorted(entry.id for entry in taken) == sorted(known)
    assert len(known) == 10
    await queue.close()


async def test_a_claim_repeated_during_a_stall_of_the_server_itself(
    own_server: RedisServer, own_harness: RedisHarness, own_redis_client: Redis, namespace: str
) -> None:
    """The same while the server is busy with something slow, several repeats being queued behind it."""
    for _ in range(6):
        await own_harness.waiting()
    queue = impatient(own_server, namespace)
    await queue.ping()
    stall = asyncio.create_task(own_redis_client.execute_command("DEBUG", "SLEEP", "1"))
    ids: tuple[str, ...] = ()

    async def claimed() -> bool:
        nonlocal ids
        try:
            ids = (await queue.claim(POOL, token="t1", count=2)).ids
        except StoreUnavailableError:
            return False
        return bool(ids)

    await eventually(claimed)
    await stall
    assert [entry.id for entry in await own_harness.queue.in_flight(POOL, older_than_ms=0, limit=9)] == list(ids)
    assert len(ids) == 2
    await queue.close()


async def test_a_cancelled_call_does_not_mix_up_answers(own_harness: RedisHarness) -> None:
    """Hazard 4: whatever is cancelled, each later answer belongs to its own question."""
    job = await own_harness.waiting()
    for _ in range(100):
        task = asyncio.create_task(own_harness.queue.depths(POOL))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await own_harness.queue.locate(POOL, [job]))[0].id == job
    assert isinstance(await own_harness.queue.time_ms(), int)


async def test_a_repeat_of_every_verb_changes_nothing(own_harness: RedisHarness, own_redis_client: Redis) -> None:
    """Every script is safe to send twice: the second time the keys stay as they are."""
    queue = own_harness.queue
    jobs = [await own_harness.waiting(age_ms=9_000 - n) for n in range(4)]
    places = own_harness.new_ids(2)
    now = await queue.time_ms()
    far = now + 600_000
    steps: list[Verb] = [
        lambda q: q.enqueue(POOL, [Entry(places[0], 3, far)], drop=[places[1]]),
        lambda q: q.claim(POOL, token="t1", count=3),
        lambda q: q.requeue(POOL, [Entry(jobs[0], 3, far, "t1")]),
        lambda q: q.putback(POOL, token="t1", verdicts=[Verdict(jobs[1], "delayed", far, 4)]),
        lambda q: q.settle(POOL, [jobs[2]]),
        lambda q: q.release(POOL, [Entry(jobs[2], 1, 0, "t1")]),
        lambda q: q.rescore(POOL, [Entry(jobs[3], 2)]),
        lambda q: q.pause(POOL, True, "x"),
        lambda q: q.pause(POOL, False),
        lambda q: q.begin_rebuild(POOL),
    ]
    for number, step in enumerate(steps):
        await step(queue)
        once = await dump(own_redis_client)
        await step(queue)
        assert await dump(own_redis_client) == once, f"step {number}"


@pytest.mark.parametrize("flush", ["SYNC", "ASYNC"])
async def test_forgotten_scripts_are_loaded_again(
    own_harness: RedisHarness, own_redis_client: Redis, flush: str
) -> None:
    """SCRIPT FLUSH between two calls costs nothing."""
    job = await own_harness.waiting()
    await own_redis_client.script_flush(flush)  # type: ignore[arg-type]
    assert (await own_harness.queue.claim(POOL, token="t1", count=1)).ids == (job,)


async def test_a_full_server_refuses_more_and_lets_what_it_has_be_drained(
    own_harness: RedisHarness, own_redis_client: Redis, namespace: str
) -> None:
    """Refused before the first write: nothing of an enqueue is left, not even the freed place."""
    queue = own_harness.queue
    jobs = [await own_harness.waiting(age_ms=9_000 - n) for n in range(4)]
    place = own_harness.new_ids(1)
    await queue.reserve(POOL, place, limit=100)
    await own_redis_client.config_set("maxmemory", 1)
    before = await dump(own_redis_client)
    for refused in (
        queue.enqueue(POOL, [Entry(place[0], 1)]),
        queue.enqueue(POOL, [], drop=place),
        queue.reserve(POOL, own_harness.new_ids(1), limit=100),
    ):
        with pytest.raises(StoreUnavailableError, match="Redis is full"):
            await refused
    assert await dump(own_redis_client) == before
    assert list((await queue.claim(POOL, token="t1", count=4)).ids) == jobs
    assert await queue.requeue(POOL, [Entry(jobs[0], 1, 2**50, "t1")]) == 1
    assert await queue.putback(POOL, token="t1", verdicts=[Verdict(jobs[1], "delayed", 2**50, 1)]) == 1
    seen = await queue.in_flight(POOL, older_than_ms=0, limit=10)
    assert await queue.sweep(POOL, seen=seen, verdicts=[Verdict(jobs[2], "drop")], min_age_ms=0) == 1
    assert await queue.settle(POOL, jobs) == 3
    assert (await queue.depths(POOL)).in_flight == 0
    await queue.pause(POOL, True, "full")
    await own_redis_client.config_set("maxmemory", 0)
    assert await queue.enqueue(POOL, [Entry(place[0], 1)]) == 1
