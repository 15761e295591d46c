"""Hazards 23 and 25: the same id from everywhere at once, and an index of 200,000 ids that never stalls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from hazard_parts import POOL, held_ids, open_stores
from pydantic import SecretStr

from headrace.contracts.config import JobConfig
from headrace.local.stores import RedisServer
from headrace.recovery.parts import Parts
from headrace.runtime.process.ids import new_token
from headrace.runtime.queue import Entry, Keys, Verdict
from headrace.testing.builders import make_job_id

WAITING = 200_000
ROUNDS = 15


@pytest.fixture
async def stores(config: JobConfig, own_redis: RedisServer) -> AsyncIterator[Parts]:
    async with open_stores(config.model_copy(update={"redis_url": SecretStr(own_redis.url)})) as parts:
        yield parts


async def test_hazard_23_one_id_from_everywhere_at_once_is_there_once(stores: Parts) -> None:
    """Scheduler, retry, release, recovery and a rebuild push the same 200 ids together; the member is the id alone."""
    ids = [make_job_id() for _ in range(200)]
    entries = [Entry(job_id, n) for n, job_id in enumerate(ids)]
    queue = stores.queue
    await queue.reserve(POOL, ids[:100], limit=1000)
    await asyncio.gather(
        *(queue.enqueue(POOL, entries[n::4]) for n in range(4)),
        queue.enqueue(POOL, entries),
        queue.requeue(POOL, entries),
        queue.release(POOL, entries[::-1]),
    )
    assert await held_ids(stores) == {job_id: ["ready"] for job_id in ids}
    depths = await queue.depths(POOL)
    assert (sum(depths.waiting.values()), depths.reserved, depths.in_flight, depths.delayed) == (200, 0, 0, 0)


async def test_hazard_23_what_ended_before_can_wait_again(stores: Parts) -> None:
    """No record of a finished job makes a later enqueue a silent nothing."""
    job_id = make_job_id()
    for _ in range(3):
        assert await stores.queue.enqueue(POOL, [Entry(job_id, 1)]) == 1
        assert (await stores.queue.claim(POOL, token=new_token(), count=1)).ids == (job_id,)
        assert await stores.queue.settle(POOL, [job_id]) == 1


async def test_hazard_25_no_verb_stalls_the_server_with_200_000_ids(config: JobConfig, stores: Parts) -> None:
    """Every verb again and again: none is slow as a rule (10 ms of the server), and nobody ever asks for KEYS."""
    queue, redis = stores.queue, stores.queue._redis
    keys = Keys(config.namespace).pool(POOL)
    for first in range(0, WAITING, 10_000):
        await redis.zadd(keys.ready, {make_job_id(): 10 + n for n in range(first, first + 10_000)})
    assert sum((await queue.depths(POOL)).waiting.values()) == WAITING
    await redis.config_set("slowlog-log-slower-than", 10_000)
    await redis.slowlog_reset()
    await redis.config_resetstat()

    for _ in range(ROUNDS):
        ids = [make_job_id() for _ in range(100)]
        await queue.reserve(POOL, ids, limit=10**6)
        await queue.enqueue(POOL, [Entry(job_id, 1) for job_id in ids])
        token = new_token()
        mine = (await queue.claim(POOL, token=token, count=100)).ids
        assert set(mine) <= set(ids), "the best of 200,000"
        await queue.locate(POOL, mine)
        seen = await queue.in_flight(POOL, older_than_ms=0, limit=100)
        await queue.putback(POOL, token=token, verdicts=[Verdict(mine[0], "delayed", 2**45, 1)])
        await queue.requeue(POOL, [Entry(mine[1], 1, token=token)])
        await queue.sweep(POOL, seen=seen, verdicts=[Verdict(mine[2], "leave")], min_age_ms=0)
        await queue.rescore(POOL, [Entry(mine[1], 0)])
        await queue.members(POOL, "ready", cursor=0, count=1000)
        await queue.promote(POOL)
        await queue.depths(POOL)
        await queue.is_complete(POOL)
        await queue.expired_reservations(POOL)
        await queue.settle(POOL, mine)

    slow = Counter(str(entry["command"])[:60] for entry in await redis.slowlog_get(128))
    # Once is the machine, which is busy with other tests; as a rule is the verb.
    assert not {verb: times for verb, times in slow.items() if times > ROUNDS // 2}
    used = set(await redis.info("commandstats"))
    assert "cmdstat_evalsha" in used
    assert not used & {"cmdstat_keys", "cmdstat_smembers", "cmdstat_hgetall", "cmdstat_flushall"}
