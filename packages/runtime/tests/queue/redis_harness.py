"""The queue in Redis as the behaviour suite and the other tests drive it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.contracts.job import ready_score
from headrace.runtime.process.ids import new_job_id
from headrace.runtime.queue import Entry, RedisJobQueue

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
