"""The queue in Redis as the behaviour suite and the other tests drive it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from headrace.contracts.job import ready_score
from headrace.runtime.process.ids import new_job_id
from headrace.runtime.queue import Entry, RedisJobQueue, Verdict

POOL = "crawl"


async def complete(queue: RedisJobQueue) -> None:
    """Declare the pool rebuilt."""
    assert await queue.finish_rebuild(POOL, await queue.begin_rebuild(POOL))


@dataclass
class RedisHarness:
    """The behaviour suite's harness for an index without a truth beside it: there is nothing to do but the verbs."""

    queue: RedisJobQueue
    pool: str = POOL
    entries: dict[str, Entry] = field(default_factory=dict)

    async def waiting(self, *, priority: int = 1, age_ms: int = 0, due_in_ms: int = 0) -> str:
        now = await self.queue.time_ms()
        score = ready_score(priority, now - age_ms)
        entry = Entry(new_job_id(), score, now + due_in_ms if due_in_ms else 0)
        self.entries[entry.id] = entry
        assert await self.queue.enqueue(self.pool, [entry]) == 1
        return entry.id

    async def take(self, *, token: str, count: int) -> list[str]:
        return list((await self.queue.claim(self.pool, token=token, count=count)).ids)

    async def finish(self, ids: Sequence[str]) -> None:
        await self.queue.settle(self.pool, ids)

    async def give_back(self, ids: Sequence[str], *, token: str, due_in_ms: int = 0) -> None:
        due_ms = await self.queue.time_ms() + due_in_ms
        entries = [Entry(job_id, self.entries[job_id].score, due_ms, token) for job_id in ids]
        if due_in_ms:
            await self.queue.requeue(self.pool, entries)
        else:
            await self.queue.release(self.pool, entries)

    async def enqueue_again(self, job_id: str) -> None:
        await self.queue.enqueue(self.pool, [self.entries[job_id]])

    def new_ids(self, count: int) -> list[str]:
        return [new_job_id() for _ in range(count)]


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
    "tidy": lambda q: q.tidy(POOL),
    "refill": lambda q: q.refill(POOL, [("a", 1)]),
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
"""Each verb once, with arguments that would do something."""


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
