"""How a batch of drafts of one pool becomes jobs: a place, the truth, the index.

::

    reserve places (Redis) → insert (MongoDB, majority) → enqueue (Redis)

- After `reserve`: nothing is stored. The places count until recovery has looked for the documents and found none.
- After `insert`: the jobs are durable. Recovery pushes what Redis does not hold.
- While Redis is away or being rebuilt, the bound is judged by counts in MongoDB instead (`counted`), so that one
  scheduler alone never exceeds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from headrace.contracts.errors import (
    DuplicateJobError,
    OutcomeUnknownError,
    QueueFullError,
    StoreUnavailableError,
)
from headrace.contracts.job import Job
from headrace.runtime.process.failpoints import afp
from headrace.runtime.queue.base import Entry, JobQueue, Reservation
from headrace.runtime.store.reads import Reads
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import Inserted, InsertVerdict
from headrace.scheduler.announce import Announcer
from headrace.scheduler.bounds import Bounds
from headrace.scheduler.clock import StoreClock
from headrace.scheduler.counted import CountedRoom
from headrace.scheduler.drafts import Draft
from headrace.scheduler.intake import Outcome, Stored
from headrace.scheduler.links import MongoLink, RedisLink
from headrace.scheduler.metrics import SchedulerMetrics
from headrace.scheduler.rates import DrainRates
from headrace.scheduler.tasks import Tasks
from headrace.scheduler.tenants import TenantShares

PLACE_MS = 60_000
LAST_INSERT_SECONDS = 40.0
"""A place lives 60 s and an insert at most 10 s on the server: none is sent in a place's last 20 s (A8)."""


class Committer:
    """Commits batches; several may be under way at once."""

    def __init__(
        self,
        *,
        queue: JobQueue,
        redis: RedisLink,
        states: JobStateManager,
        reads: Reads,
        mongo: MongoLink,
        clock: StoreClock,
        tasks: Tasks,
        announcer: Announcer,
        metrics: SchedulerMetrics,
        bounds: Bounds,
        shares: TenantShares,
        rates: DrainRates,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._redis = redis
        self._states = states
        self._mongo = mongo
        self._clock = clock
        self._tasks = tasks
        self._announcer = announcer
        self._metrics = metrics
        self._bounds = bounds
        self._shares = shares
        self._rates = rates
        self._monotonic = monotonic
        self._room = CountedRoom(lambda pool, cap: mongo.read(lambda: reads.count_pending(pool, cap=cap)), tasks)

    async def commit(self, pool: str, drafts: Sequence[Draft]) -> list[Outcome]:
        """Store what the bound admits; one outcome per draft, in order."""
        self._metrics.batch_size.observe(len(drafts))
        try:
            await self._mongo.awake()
        except StoreUnavailableError as error:
            return [_not_kept(error) for _ in drafts]
        size, limits = self._bounds.size(pool), self._bounds.limits(pool, drafts)
        try:
            async with self._shares.turn(pool, drafts, size) as beyond:
                # Those who may fill the pool furthest come first: then whom the bound admits is a prefix.
                order = sorted((at for at in range(len(drafts)) if at not in beyond), key=lambda at: -limits[at])
                found = await self._admit(pool, [drafts[at] for at in order], [limits[at] for at in order])
        except StoreUnavailableError as error:
            return [_not_kept(error) for _ in drafts]
        outcomes: dict[int, Outcome] = dict(zip(order, found, strict=False))
        return [
            outcomes[at] if at in outcomes else self._full(pool, drafts[at], limits[at], size, is_beyond=at in beyond)
            for at in range(len(drafts))
        ]

    async def _admit(self, pool: str, drafts: Sequence[Draft], limits: Sequence[int]) -> list[Outcome]:
        """Store the drafts that the bound admits, the first of them; the limits do not rise."""
        began = self._monotonic()
        if not drafts:
            return []
        with self._room.placed(pool, len(drafts)) as placed:  # before the places are asked for
            places = await self._reserve(pool, drafts, limits)
            if places is not None and places.complete:
                placed.grant(places.granted)
                return await self._store(pool, drafts[: places.granted], began=began, push=True)
        try:
            if places is None:  # who has lost one store may just have lost the other, and a known count asks nobody
                await self._mongo.awake(quiet_seconds=0)
            async with self._room.let_in(pool, limits) as number:
                return await self._store(pool, drafts[:number], began=began, push=places is not None)
        except StoreUnavailableError as error:
            return [_not_kept(error) for _ in drafts]

    async def _reserve(self, pool: str, drafts: Sequence[Draft], limits: Sequence[int]) -> Reservation | None:
        await afp("before_reserve")
        ids = [draft.id for draft in drafts]
        # What was counted in MongoDB and is still on its way there has no place in Redis. Without it a rebuild that
        # ends just now would let this batch have the same room once more.
        left = [max(0, limit - self._room.admitted(pool)) for limit in limits]
        try:
            places = await self._redis.call(lambda: self._queue.reserve(pool, ids, limit=left, ttl_ms=PLACE_MS))
        except StoreUnavailableError:
            return None
        self._clock.observe(places.now_ms)
        self._metrics.saw_pending(pool, places.pending, self._bounds.size(pool))
        await afp("after_reserve")
        return places

    async def _store(self, pool: str, drafts: Sequence[Draft], *, began: float, push: bool) -> list[Outcome]:
        """Insert, then enqueue. `push`: Redis answers, so tell it; otherwise the jobs are marked as not indexed."""
        if not drafts:
            return []
        if self._monotonic() - began > LAST_INSERT_SECONDS:
            self._give_back(pool, drafts, push=push)
            return [_not_kept(StoreUnavailableError("the stores are too slow to take this job now")) for _ in drafts]
        now_ms = self._clock.now_ms()
        jobs = [draft.to_job(now_ms, indexed=push) for draft in drafts]
        await afp("before_mongo_insert")
        try:
            answers = await self._mongo.write(lambda: self._insert(jobs))
            await afp("after_mongo_insert")
        except OutcomeUnknownError:
            # What may have been stored keeps its place until recovery has looked.
            return [_unknown(job) for job in jobs]
        except StoreUnavailableError as error:
            self._give_back(pool, drafts, push=push)
            return [_not_kept(error) for _ in drafts]
        created = [job for job, answer in zip(jobs, answers, strict=True) if answer.verdict is InsertVerdict.CREATED]
        unused = [job.id for job, answer in zip(jobs, answers, strict=True) if answer.verdict in _NOT_STORED]
        if push:
            push = await self._enqueue(pool, created, unused, now_ms)
        self._announcer.queued(created)
        return [_outcome(job, answer, indexed=push) for job, answer in zip(jobs, answers, strict=True)]

    async def _insert(self, jobs: Sequence[Job]) -> list[Inserted]:
        answers = await self._states.insert(jobs)
        if all(answer.verdict is InsertVerdict.UNKNOWN for answer in answers):
            raise OutcomeUnknownError("MongoDB did not confirm an insert")  # the breaker must hear of it
        return answers

    async def _enqueue(self, pool: str, created: Sequence[Job], unused: Sequence[str], now_ms: int) -> bool:
        entries = [
            Entry(id=job.id, score=job.ready_score, due_ms=job.run_at_ms if job.run_at_ms > now_ms else 0)
            for job in created
        ]
        try:
            await self._redis.call(lambda: self._queue.enqueue(pool, entries, drop=unused))
            await afp("after_enqueue")
        except StoreUnavailableError:
            ids = [job.id for job in created]
            if ids:
                self._tasks.afterwards("mark_unindexed", self._mongo.write(lambda: self._states.mark_unindexed(ids)))
            return False
        return True

    def _full(self, pool: str, draft: Draft, limit: int, size: int, *, is_beyond: bool) -> QueueFullError:
        if is_beyond:
            detail = "the jobs of this tenant fill its share of the pool"
        elif limit < size:
            detail = f"the pool holds as many jobs as JOB_SHED_SHARES allows for priority {draft.fields.priority}"
        else:
            detail = "the pool holds as many jobs as JOB_QUEUE_SIZE_LIMIT allows"
        return QueueFullError(detail, retry_after_seconds=self._rates.wait_seconds(pool))

    def _give_back(self, pool: str, drafts: Sequence[Draft], *, push: bool) -> None:
        if push:
            ids = [draft.id for draft in drafts]
            self._tasks.afterwards(
                "give_back_places", self._redis.call(lambda: self._queue.enqueue(pool, [], drop=ids))
            )


_NOT_STORED = frozenset({InsertVerdict.SAME_KEY, InsertVerdict.KEY_UNSETTLED, InsertVerdict.HELD})


def _outcome(job: Job, answer: Inserted, *, indexed: bool) -> Outcome:
    match answer.verdict:
        case InsertVerdict.CREATED:
            return Stored(job if indexed == job.indexed else job.evolve(indexed=indexed), created=True)
        case InsertVerdict.SAME_KEY if answer.other is not None:
            return Stored(answer.other, created=False)
        case InsertVerdict.HELD:
            other = answer.other.id if answer.other else None
            return DuplicateJobError("another job that is not over holds this unique_key", job_id=other)
        case InsertVerdict.KEY_UNSETTLED:
            # The other request's job may still be undone, so it cannot be shown.
            return StoreUnavailableError(
                "another request with this Idempotency-Key is not settled yet; repeat it", retry_after_seconds=1
            )
        case _:
            return _unknown(job)


def _unknown(job: Job) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        "the job was sent to MongoDB, which did not confirm it; repeat the request with its Idempotency-Key",
        job_id=job.id,
        retry_after_seconds=2,
    )


def _not_kept(error: StoreUnavailableError) -> StoreUnavailableError:
    # One error per request: an exception that several raise would collect all their tracebacks.
    return StoreUnavailableError(error.detail, retry_after_seconds=error.retry_after_seconds or 2)
