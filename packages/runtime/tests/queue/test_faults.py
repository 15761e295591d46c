"""What a stalled, full, restarted or emptied server does to the verbs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis_harness import POOL, RedisHarness, complete

from headrace.contracts.errors import ConfigError, StoreUnavailableError
from headrace.local.stores import RedisServer
from headrace.runtime.queue import Entry, RedisJobQueue, Verdict, redis_client
from headrace.runtime.queue.errors import reason_of
from headrace.runtime.queue.keys import Keys, PoolKeys
from headrace.testing.eventually import eventually

Verb = Callable[[RedisJobQueue], Awaitable[Any]]
VERBS: dict[str, Verb] = {
    "reserve": lambda q: q.reserve(POOL, ["a"], limit=5),
    "enqueue": lambda q: q.enqueue(POOL, [Entry("a", 1)]),
    "claim": lambda q: q.claim(POOL, token="t", count=1),
    "settle": lambda q: q.settle(POOL, ["a"]),
    "requeue": lambda q: q.requeue(POOL, [Entry("a", 1)]),
    "putback": lambda q: q.putback(POOL, token="t", verdicts=[Verdict("a", "drop")]),
    "promote": lambda q: q.promote(POOL),
    "in_flight": lambda q: q.in_flight(POOL, older_than_ms=0, limit=1),
    "members": lambda q: q.members(POOL, "ready", cursor=0, count=1),
    "locate": lambda q: q.locate(POOL, ["a"]),
    "free": lambda q: q.free(POOL, ["a"]),
    "rescore": lambda q: q.rescore(POOL, [Entry("a", 1)]),
    "depths": lambda q: q.depths(POOL),
    "pause": lambda q: q.pause(POOL, True, "x"),
    "begin_rebuild": lambda q: q.begin_rebuild(POOL),
    "finish_rebuild": lambda q: q.finish_rebuild(POOL, "x:1"),
    "expired_reservations": lambda q: q.expired_reservations(POOL),
    "run_id": lambda q: q.run_id(),
    "ping": lambda q: q.ping(),
    "time_ms": lambda q: q.time_ms(),
    "check_policy": lambda q: q.check_policy(),
}


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


async def dump(redis: Redis, match: str = "*") -> dict[str, Any]:
    """Every key with its content."""
    content: dict[str, Any] = {}
    async for key in redis.scan_iter(match=match):
        match await redis.type(key):
            case "zset":
                content[key] = await redis.zrange(key, 0, -1, withscores=True)
            case "hash":
                content[key] = await redis.hgetall(key)
            case "list":
                content[key] = await redis.lrange(key, 0, -1)
            case _:
                content[key] = await redis.get(key)
    return content


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


async def test_a_restart_with_the_data_kept_is_seen_at_once(own_server: RedisServer, own_harness: RedisHarness) -> None:
    """Everything is where it was, but nobody knows what the last moments lost: not complete until rebuilt."""
    queue = own_harness.queue
    flying = await own_harness.waiting(age_ms=9_000)
    await own_harness.take(token="t1", count=1)
    ready, delayed = await own_harness.waiting(), await own_harness.waiting(due_in_ms=600_000)
    old_run = await queue.run_id()
    marker = await queue.begin_rebuild(POOL)
    await asyncio.to_thread(own_server.restart, keep_data=True)

    async def answers() -> bool:
        try:
            await queue.ping()
        except StoreUnavailableError:
            return False
        return True

    await eventually(answers)
    assert await queue.run_id() != old_run
    reservation = await queue.reserve(POOL, own_harness.new_ids(1), limit=100)
    assert (reservation.granted, reservation.complete, reservation.pending) == (0, False, 3)
    assert not await queue.finish_rebuild(POOL, marker)
    found = await queue.locate(POOL, [flying, ready, delayed])
    assert [one.place for one in found] == ["inflight", "ready", "delayed"]
    assert (await queue.claim(POOL, token="t1", count=1)).ids == (flying,)
    await complete(queue)
    assert (await queue.reserve(POOL, own_harness.new_ids(1), limit=100)).granted == 1
    assert (await queue.claim(POOL, token="t2", count=5)).ids == (ready,)


async def test_a_restart_with_the_data_gone_is_seen_at_once(own_server: RedisServer, own_harness: RedisHarness) -> None:
    """The pool is empty and says that it is not complete; rebuilt, it has the same order."""
    queue = own_harness.queue
    jobs = [await own_harness.waiting(priority=priority) for priority in (2, 0, 1)]
    await asyncio.to_thread(own_server.restart, keep_data=False)

    async def is_empty() -> bool:
        try:
            reservation = await queue.reserve(POOL, own_harness.new_ids(1), limit=100)
        except StoreUnavailableError:
            return False
        assert (reservation.granted, reservation.complete, reservation.pending) == (0, False, 0)
        return True

    await eventually(is_empty)
    marker = await queue.begin_rebuild(POOL)
    assert await queue.enqueue(POOL, list(own_harness.entries.values())) == 3
    assert await queue.enqueue(POOL, list(own_harness.entries.values())) == 0
    assert await queue.finish_rebuild(POOL, marker)
    assert (await queue.claim(POOL, token="t1", count=5)).ids == (jobs[1], jobs[2], jobs[0])


async def test_a_flush_in_the_middle_of_a_rebuild_starts_it_over(
    own_harness: RedisHarness, own_redis_client: Redis
) -> None:
    """The marker went with the rest, so the pool is not declared complete; nor by the old marker after a new begin."""
    queue = own_harness.queue
    await own_redis_client.flushall()
    assert not await queue.is_complete(POOL)
    marker = await queue.begin_rebuild(POOL)
    await queue.enqueue(POOL, [Entry("a", 1)])
    await own_redis_client.flushall()
    await queue.enqueue(POOL, [Entry("b", 1)])
    assert not await queue.finish_rebuild(POOL, marker)
    again = await queue.begin_rebuild(POOL)
    assert again != marker
    assert not await queue.finish_rebuild(POOL, marker)
    assert not await queue.is_complete(POOL)
    assert await queue.finish_rebuild(POOL, again)
    assert await queue.is_complete(POOL)


async def test_a_flush_of_a_complete_pool_is_seen_at_once(own_harness: RedisHarness, own_redis_client: Redis) -> None:
    """FLUSHALL keeps the run id; the missing epoch tells."""
    await own_redis_client.flushall()
    reservation = await own_harness.queue.reserve(POOL, ["a"], limit=5)
    assert (reservation.granted, reservation.complete) == (0, False)


WRITERS = [
    "reserve",
    "enqueue",
    "claim",
    "settle",
    "requeue",
    "putback",
    "promote",
    "free",
    "rescore",
    "depths",
    "locate",
    "in_flight",
    "members",
    "expired_reservations",
    "pause",
    "begin_rebuild",
    "finish_rebuild",
]


@pytest.mark.parametrize("verb", WRITERS)
async def test_a_key_of_a_wrong_type_fails_before_the_first_write(
    redis: Redis, queue: RedisJobQueue, namespace: str, verb: str
) -> None:
    """Hazard 22: for each key that a verb uses; the error names the key, and nothing else changed."""
    keys = Keys(namespace).pool(POOL)
    details: list[tuple[str, str]] = []
    for key in every_key(keys):
        await redis.delete(*every_key(keys))
        await redis.zadd(keys.ready, {"x": 1})
        await redis.delete(key)
        await (redis.set(key, "junk") if key == keys.claim("t") else redis.rpush(key, "junk"))
        before = await dump(redis, f"{namespace}:*")
        try:
            await VERBS[verb](queue)
        except StoreUnavailableError as error:
            details.append((key, error.detail))
            assert await dump(redis, f"{namespace}:*") == before
    assert details
    for key, detail in details:
        assert detail == "a Redis key has the wrong type" or detail.startswith(f"the key {key} is a ")


def every_key(keys: PoolKeys) -> list[str]:
    return [
        keys.ready,
        keys.delayed,
        keys.score,
        keys.inflight,
        keys.holder,
        keys.reserved,
        keys.paused,
        keys.epoch,
        keys.rebuilding,
        keys.claims,
        keys.claim("t"),
    ]


async def test_a_claim_counter_that_is_no_number_is_named(
    redis: Redis, queue: RedisJobQueue, harness: RedisHarness, namespace: str
) -> None:
    """Before a pop: an INCR that fails after it would lose the ids."""
    job = await harness.waiting()
    await redis.set(Keys(namespace).pool(POOL).claims, "many")
    with pytest.raises(StoreUnavailableError, match="claims must be a whole number"):
        await queue.claim(POOL, token="t", count=1)
    assert (await queue.locate(POOL, [job]))[0].place == "ready"


async def test_a_server_that_wants_a_password_says_so(kind: Any, namespace: str) -> None:
    """Without it, and with a wrong one; with the right one it works."""
    with RedisServer(prefer=kind, password=True) as server:
        bare = server.url.split("@")[1]
        for url in (f"redis://{bare}", f"redis://:wrong@{bare}"):
            queue = RedisJobQueue(redis_client(url, kind="command", name="t"), namespace=namespace)
            with pytest.raises(StoreUnavailableError, match="password") as caught:
                await queue.depths(POOL)
            assert "wrong" not in caught.value.detail
            await queue.close()
        queue = RedisJobQueue(redis_client(SecretStr(server.url), kind="command", name="t"), namespace=namespace)
        assert await queue.depths(POOL)
        await queue.close()


async def test_a_user_without_the_right_says_so(own_redis_client: Redis, own_server: RedisServer) -> None:
    """An ACL that forbids scripts."""
    await own_redis_client.execute_command("ACL", "SETUSER", "weak", "on", ">pw", "~*", "+ping", "+hello", "+client")
    url = own_server.url.replace("redis://", "redis://weak:pw@")
    queue = RedisJobQueue(redis_client(url, kind="command", name="t"), namespace="ns")
    with pytest.raises(StoreUnavailableError, match="may not do this"):
        await queue.depths(POOL)
    await queue.close()


async def test_more_callers_than_connections_wait_for_one(server: RedisServer, namespace: str) -> None:
    """A bounded number of connections serves any number of callers; no error."""
    client = redis_client(server.url, kind="command", name="few", max_connections=2)
    queue = RedisJobQueue(client, namespace=namespace)
    assert len(await asyncio.gather(*(queue.depths(POOL) for _ in range(100)))) == 100
    await queue.close()


@pytest.mark.parametrize("url", ["http://secret@h", "redis://h:port/0", "redis://h/0?socket_timeout=x"])
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(ConfigError, match="JOB_REDIS_URL") as caught:
        redis_client(url, kind="command", name="t")
    assert "secret" not in str(caught.value)


def test_unknown_errors_get_a_short_reason_of_ours() -> None:
    """No driver text, whatever it says."""
    from redis import exceptions

    assert reason_of(exceptions.ResponseError("MISCONF Errors writing to /var/secret")) == (
        "Redis cannot save to its disk and refuses writes"
    )
    assert reason_of(exceptions.ResponseError("WEIRD thing at 10.0.0.1")) == "Redis refuses a command"
    assert reason_of(TimeoutError()) == "Redis did not answer in time"
    assert reason_of(OSError("connect 10.0.0.1")) == "no connection to Redis"
    assert reason_of(exceptions.BusyLoadingError("x")) == "Redis is still loading its data"
