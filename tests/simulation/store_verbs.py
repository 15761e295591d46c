"""The verbs of the store that are compared, and the arguments they are given."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from headrace.contracts.heartbeat import ExitRecord
from headrace.contracts.job import Idempotency, Job, JobError, Priority
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store.database import Database
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.leases import LeaderLease
from headrace.runtime.store.orphans import decide_orphan
from headrace.runtime.store.persistent_queue import PersistentJobQueue
from headrace.runtime.store.pools import Pools
from headrace.runtime.store.reads import Reads
from headrace.runtime.store.reconcile_reads import ReconcileReads
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import Settlement
from headrace.testing.builders import make_job

IDS = [f"00000000-0000-7000-8000-00000000000{number}" for number in range(4)]
OWNERS = ["w-1", "w-2"]
TOKENS = ["w-1.a", "w-2.b"]
POOL = "default"
FAR = timedelta(days=300)

some_id = st.sampled_from(IDS)
some_ids = st.lists(some_id, max_size=4, unique=True)
some_owner = st.sampled_from(OWNERS)
some_token = st.sampled_from(TOKENS)
some_attempt = st.sampled_from([1, 1, 2, 3])
some_ms_ago = st.sampled_from([None, 0, 500])


class Store:
    """Everything of the store that the services call."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.state = JobStateManager(database, retention_days=2, dead_retention_days=0)
        self.workers = Incarnations(database)
        self.reads = Reads(database)
        self.reconcile = ReconcileReads(database)
        self.direct = PersistentJobQueue(database)
        self.pools = Pools(database)

    async def documents(self) -> list[Any]:
        """Everything that is stored, in an order that both have."""
        collections = (self.database.jobs, self.database.workers, self.database.leases, self.database.pools)
        return [[found async for found in collection.find({}).sort("_id", 1)] for collection in collections]


def a_job(job_id: str, priority: Priority, due: str, key: str | None, unique: str | None, crashes: int) -> Job:
    """A new job, submitted an hour ago."""
    now = datetime.now(UTC).replace(microsecond=0)
    created = now - timedelta(hours=1)
    return make_job(
        id=job_id,
        priority=priority,
        type="sim",
        created_at=created,
        updated_at=created,
        run_at={"now": created, "later": now + FAR, "expired": created, "in time": created}[due],
        expires_at={"expired": now - timedelta(minutes=1), "in time": now + FAR}.get(due),
        idempotency=None if key is None else Idempotency(scope="s", key=key, digest="d"),
        unique_key=unique,
        crashes=crashes,
        tenant="t" if unique else None,
        log=(),
    )


jobs = st.builds(
    a_job,
    some_id,
    st.sampled_from(Priority),
    st.sampled_from(["now", "now", "now", "later", "expired", "in time"]),
    st.sampled_from([None, None, "k1", "k2"]),
    st.sampled_from([None, None, "u1"]),
    st.sampled_from([0, 0, 1]),
)
error = JobError(type="E", message="$boom", fingerprint="f", at=datetime(2026, 1, 1, tzinfo=UTC))
ENDS = (
    (JobState.COMPLETED, Reason.COMPLETED),
    (JobState.FAILED, Reason.FAILED),
    (JobState.QUEUED, Reason.RETRY),
    (JobState.QUEUED, Reason.RELEASED),
    (JobState.CANCELLED, Reason.CANCELLED),
)
settlements = st.builds(
    lambda job_id, attempt, end, result, delay, ms_ago, progress: Settlement(
        job_id,
        attempt,
        *end,
        result=result if end[0] is JobState.COMPLETED else None,
        error=error if end[1] in (Reason.RETRY, Reason.FAILED) else None,
        delay_ms=delay if end[0] is JobState.QUEUED else None,
        counts_failure=end[1] in (Reason.RETRY, Reason.FAILED),
        started_ms_ago=ms_ago,
        progress=progress,
    ),
    some_id,
    some_attempt,
    st.sampled_from(ENDS),
    st.sampled_from([None, "[1]", '"$x"']),
    st.sampled_from([None, 0, 900_000_000]),
    some_ms_ago,
    st.sampled_from([None, (0.5, "half")]),
)


async def insert(store: Store, found: list[Job]) -> Any:
    """Insert jobs with ids and keys that may be there."""
    by_id = {job.id: job for job in found}
    answers = await store.state.insert(list(by_id.values()))
    return [(answer.verdict, answer.other and answer.other.id) for answer in answers]


async def claim(store: Store, ids: list[str], token: str, owner: str, versions: dict[str, int]) -> Any:
    """Claim, under one token per owner."""
    claimed = await store.state.claim(ids, token=f"{owner}.{token}", owner=owner, types=["sim"], versions=versions)
    return sorted(claimed, key=lambda job: job.id)


async def hand_back(store: Store, worn: int) -> Any:
    """What recovery does to orphans."""
    found = sorted(await store.state.orphans(store.workers.collection, limit=10), key=lambda item: item[0].job_id)
    return [
        await store.state.hand_back(orphan, decide_orphan(orphan, owner, max_crashes=worn), by="recovery")
        for orphan, owner in found
    ]


async def register(store: Store, owner: str, seconds: float) -> Any:
    """Register an incarnation."""
    fields: dict[str, Any] = {"service": "s", "host": "h", "pool": POOL, "types": ["sim"], "slots": 1, "version": "0"}
    return await store.workers.register(owner, **fields, lease_seconds=seconds)


async def mark_dead(store: Store, owner: str, kind: str, running: list[str], culprit: str | None) -> bool:
    """Say that one died."""
    return await store.workers.mark_dead(owner, exit_record=ExitRecord(kind=kind), running=running, culprit=culprit)


async def declare_lost(store: Store) -> Any:
    """Declare those whose lease is over."""
    expired = await store.workers.expired()
    return sorted(
        [(name, await store.workers.declare_lost(name, lease_until=until)) for name, until in expired.items()]
    )


async def cancel(store: Store, job_id: str) -> Any:
    """Cancel, and the verdict."""
    _, verdict = await store.state.cancel(job_id, by="scheduler")
    return verdict


async def changed(store: Store) -> Any:
    """Everything that changed lately."""
    now = datetime.now(UTC)
    page = await store.reconcile.changed(after=now - FAR, until=now + FAR, limit=100)
    return sorted(page.standings, key=lambda standing: standing.id)


async def waiting(store: Store) -> Any:
    """What a rebuild reads."""
    now = await store.reconcile.now()
    due = [sorted(page) async for page in store.reconcile.due(POOL, now=now, page=10)]
    later = [page async for page in store.reconcile.delayed(POOL, now=now, page=10)]
    running = [page async for page in store.reconcile.stream(POOL, JobState.PROCESSING, page=10)]
    return due, [sorted(item.id for item in page) for page in (*later, *running)]


async def lead(store: Store, holder: str, seconds: float) -> Any:
    """Ask for the leadership."""
    return await LeaderLease(store.database, name="x", holder=holder, seconds=seconds).acquire()


async def overdue(store: Store, grace_ms: int) -> Any:
    """Carry out accepted cancels."""
    found = sorted(await store.state.cancels_unanswered(grace_ms=grace_ms, limit=10), key=lambda job: job.job_id)
    return [await store.state.complete_cancel(job, grace_ms=grace_ms, by="recovery") for job in found]


async def saved(call: Awaitable[None]) -> str:
    """What a running attempt is told: these two errors are for executors and no errors of the store."""
    try:
        await call
    except Exception as problem:  # noqa: BLE001 -- compared by its name
        return type(problem).__name__
    return "saved"


Verb = Callable[..., Awaitable[Any]]
VERBS: dict[str, tuple[Verb, st.SearchStrategy[tuple[Any, ...]]]] = {
    "insert": (insert, st.tuples(st.lists(jobs, min_size=1, max_size=3))),
    "claim": (
        claim,
        st.tuples(some_ids, st.sampled_from("abc"), some_owner, st.sampled_from([{}, {"sim": 1}, {"sim": 0}])),
    ),
    "claimed": (
        lambda store, token, owner: store.state.claimed(token=token, owner=owner),
        st.tuples(some_token, some_owner),
    ),
    "places": (lambda store, ids: store.state.places(ids), st.tuples(some_ids)),
    "expire": (lambda store, ids: store.state.expire(ids), st.tuples(some_ids)),
    "expired_ids": (lambda store: store.reads.expired_ids(), st.just(())),
    "settle": (
        lambda store, found, by, owner: store.state.settle(
            list({item.job_id: item for item in found}.values()), by=by, owner=owner
        ),
        st.tuples(st.lists(settlements, max_size=3), some_owner, st.sampled_from([None, *OWNERS])),
    ),
    "progress": (
        lambda store, job_id, attempt, owner, ms_ago: saved(
            store.state.save_progress(job_id, attempt, owner, fraction=0.25, message="$x", started_ms_ago=ms_ago)
        ),
        st.tuples(some_id, some_attempt, some_owner, some_ms_ago),
    ),
    "checkpoint": (
        lambda store, job_id, attempt, owner: saved(
            store.state.save_checkpoint(job_id, attempt, owner, '{"$a": 1}', started_ms_ago=0)
        ),
        st.tuples(some_id, some_attempt, some_owner),
    ),
    "owned": (lambda store, owner: store.state.owned(owner), st.tuples(some_owner)),
    "cancel": (cancel, st.tuples(some_id)),
    "overdue": (overdue, st.tuples(st.sampled_from([0, 900_000_000]))),
    "hand_back": (hand_back, st.tuples(st.sampled_from([1, 3]))),
    "register": (register, st.tuples(some_owner, st.sampled_from([-100.0, 900_000.0]))),
    "renew": (lambda store: store.workers.renew(OWNERS, lease_seconds=900_000), st.just(())),
    "mark_dead": (
        mark_dead,
        st.tuples(some_owner, st.sampled_from(["graceful", "signal"]), some_ids, st.sampled_from([None, *IDS])),
    ),
    "declare_lost": (declare_lost, st.just(())),
    "not_alive": (lambda store: store.workers.not_alive(OWNERS), st.just(())),
    "standings": (lambda store, ids: store.reconcile.standings(ids), st.tuples(some_ids)),
    "changed": (changed, st.just(())),
    "waiting": (waiting, st.just(())),
    "stored": (lambda store: store.reconcile.stored(POOL, limit=10), st.just(())),
    "mark_unindexed": (lambda store, ids: store.state.mark_unindexed(ids), st.tuples(some_ids)),
    "mark_indexed": (lambda store, ids: store.state.mark_indexed(ids), st.tuples(some_ids)),
    "pools": (lambda store: store.reconcile.pools(), st.just(())),
    "count_pending": (lambda store, cap: store.reads.count_pending(POOL, cap=cap), st.tuples(st.integers(1, 3))),
    "find_by_key": (lambda store, key: store.state.find_by_key("s", key), st.tuples(st.sampled_from(["k1", "k2"]))),
    "direct_claim": (
        lambda store, token, count: store.direct.claim(POOL, token=token, count=count),
        st.tuples(some_token, st.integers(0, 3)),
    ),
    "direct_reserve": (
        lambda store, ids, limit: store.direct.reserve(POOL, ids, limit=limit),
        st.tuples(some_ids, st.sampled_from([1, 2, 9])),
    ),
    "direct_depths": (lambda store: store.direct.depths(POOL), st.just(())),
    "pause": (lambda store: store.pools.pause(POOL, "why", "me"), st.just(())),
    "resume": (lambda store: store.pools.resume(POOL, "me"), st.just(())),
    "paused": (lambda store: store.reads.paused(), st.just(())),
    "lead": (lead, st.tuples(st.sampled_from("ab"), st.sampled_from([-100.0, 900_000.0]))),
    "boost": (
        lambda store, seconds: store.state.boost(
            POOL, waited_seconds=seconds, now_ms=int(time.time() * 1000), limit=10
        ),
        st.tuples(st.sampled_from([60.0, 90_000.0])),
    ),
}
WEIGHTS = {"insert": 6, "claim": 8, "settle": 8, "cancel": 3, "hand_back": 3, "mark_dead": 3, "register": 2}
step = st.one_of(
    [st.tuples(st.just(name), given_) for name, (_, given_) in VERBS.items() for _ in range(WEIGHTS.get(name, 1))]
)
steps = st.lists(step, min_size=5, max_size=30)
