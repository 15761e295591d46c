"""Every hot query has its index, every write waits for a majority, and only ended jobs can ever be deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace.contracts.heartbeat import ExitRecord
from headrace.contracts.job import Idempotency, JobError
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store.audit import AuditLog
from headrace.runtime.store.database import JOB_INDEXES, WORKER_INDEXES
from headrace.runtime.store.dead_reads import DeadFilter, DeadReads
from headrace.runtime.store.documents import to_document
from headrace.runtime.store.history_reads import HistoryReads
from headrace.runtime.store.job_search import JobSearch, Search
from headrace.runtime.store.job_types import JobType, JobTypes
from headrace.runtime.store.leases import LeaderLease
from headrace.runtime.store.payload_reads import PayloadReads
from headrace.runtime.store.pools import Pools
from headrace.runtime.store.reads import JobQuery
from headrace.runtime.store.reconcile_reads import ReconcileReads
from headrace.runtime.store.values import Settlement
from headrace.testing.builders import make_job

Call = Callable[[Any], Awaitable[Any]]
NOT_EXPLAINED = {"lsid", "$clusterTime", "txnNumber", "readConcern", "writeConcern", "maxTimeMS", "$db", "cursor"}


async def drain(walk: Any) -> None:
    async for _ in walk:
        pass


def reconcile(kit: Any) -> ReconcileReads:
    return ReconcileReads(kit.database)


def utc_now() -> datetime:
    return datetime.now(UTC)


DEAD = {"dead_letters"}
HOT: dict[str, tuple[Call, set[str]]] = {
    "claim": (lambda kit: kit.manager.claim(["a", "b"], token="t", owner="w", types=["noop"]), {"_id_", "held_by"}),
    "claimed": (lambda kit: kit.manager.claimed(token="t", owner="w"), {"held_by"}),
    "places": (lambda kit: kit.manager.places(["a", "b"]), {"_id_"}),
    "own jobs": (lambda kit: kit.manager.owned("w-1"), {"held_by"}),
    "settle": (
        lambda kit: kit.manager.settle([Settlement("a", 1, JobState.QUEUED, Reason.RETRY)], by="w"),
        {"_id_"},
    ),
    "cancel": (lambda kit: kit.manager.cancel(kit.some_id, by="api"), {"_id_"}),
    "orphans": (lambda kit: kit.manager.orphans(kit.incarnations.collection, limit=10), {"held_by", "_id_"}),
    "key": (lambda kit: kit.manager.find_by_key("s", "k7"), {"idempotency"}),
    "list": (lambda kit: kit.reads.jobs(JobQuery()), {"_id_"}),
    "list failed": (lambda kit: kit.reads.jobs(JobQuery(states=[JobState.FAILED])), {"ended_by_state"}),
    "list queued": (lambda kit: kit.reads.jobs(JobQuery(states=[JobState.QUEUED])), {"pending_newest"}),
    "list pending": (lambda kit: kit.reads.jobs(JobQuery(states=kit.pending)), {"pending_newest"}),
    "list over": (lambda kit: kit.reads.jobs(JobQuery(states=kit.over)), {"ended_by_state"}),
    "list by type": (lambda kit: kit.reads.jobs(JobQuery(type="other")), {"by_type"}),
    "dead letters": (lambda kit: DeadReads(kit.database).newest(DeadFilter(), before_id=None, limit=9), DEAD),
    "dead letters of a kind": (
        lambda kit: DeadReads(kit.database).newest(DeadFilter(fingerprint="f1"), before_id="z", limit=9),
        {"dead_by_fingerprint"},
    ),
    "dead letters to replay": (
        lambda kit: DeadReads(kit.database).oldest(DeadFilter(unreplayed=True), after_id="", limit=9),
        DEAD,
    ),
    "discard": (lambda kit: kit.manager.discard(["a", "b"]), {"_id_"}),
    "replayed": (lambda kit: kit.manager.mark_replayed({"a": "b"}), {"_id_"}),
    "keys": (lambda kit: kit.manager.find_by_keys("s", ["k7", "k14"]), {"idempotency"}),
    "bound": (lambda kit: kit.reads.count_pending("default", cap=50), {"pending_in_claim_order"}),
    "rebuild": (
        lambda kit: drain(reconcile(kit).due("default", now=utc_now(), page=1000)),
        {"pending_in_claim_order"},
    ),
    "rebuild, later ones": (
        lambda kit: drain(reconcile(kit).delayed("default", now=utc_now(), page=1000)),
        {"pending_in_claim_order"},
    ),
    "full pass": (
        lambda kit: drain(reconcile(kit).stream("default", JobState.PROCESSING, page=1000)),
        {"pending_in_claim_order"},
    ),
    "standings": (lambda kit: reconcile(kit).standings(["a", "b"]), {"_id_"}),
    "types at the head": (lambda kit: reconcile(kit).head_types("default", limit=50), {"pending_in_claim_order"}),
    "payloads": (lambda kit: PayloadReads(kit.database).page(after_id="0", limit=50), {"pending_newest"}),
    "search queued": (
        lambda kit: JobSearch(kit.database).page(Search(state=JobState.QUEUED), limit=9),
        {"pending_newest"},
    ),
    "search failed": (
        lambda kit: JobSearch(kit.database).page(Search(state=JobState.FAILED, pool="big"), limit=9),
        {"ended_by_state"},
    ),
    "activity": (
        lambda kit: HistoryReads(kit.database).activity(utc_now() - timedelta(seconds=10), utc_now()),
        {"moved", "held_by", "completed"},
    ),
    "changed": (
        lambda kit: reconcile(kit).changed(after=utc_now() - timedelta(seconds=120), until=utc_now(), limit=1000),
        {"moved"},
    ),
    "running": (lambda kit: reconcile(kit).running(after=utc_now(), limit=1000), {"held_by"}),
    "expired": (lambda kit: kit.reads.expired_ids(), {"must_start_by"}),
    "stored": (lambda kit: reconcile(kit).stored("default", limit=1000), {"not_indexed"}),
    "expired leases": (lambda kit: kit.incarnations.expired(), {"by_lease"}),
    "alive": (lambda kit: kit.incarnations.alive(), {"by_lease"}),
    "prune": (lambda kit: kit.incarnations.prune(), {"by_lease", "held_by"}),
}


def stages(plan: Any) -> list[dict[str, Any]]:
    """Every stage of a plan, wherever it is nested."""
    if isinstance(plan, list):
        return [stage for part in plan for stage in stages(part)]
    if not isinstance(plan, dict):
        return []
    own = [plan] if "stage" in plan else []
    inner = [value for name, value in plan.items() if name not in {"rejectedPlans", "command"}]
    return own + [stage for part in inner for stage in stages(part)]


@pytest.fixture
def filled(kit: Any, now: datetime) -> Any:
    """Enough jobs that a scan of the collection would be the worse plan."""
    jobs = []
    for number in range(400):
        state = list(JobState)[number % 5]
        running = {"owner": f"w-{number % 40}", "claim_token": f"t{number}"} if state is JobState.PROCESSING else {}
        jobs.append(
            make_job(
                state=state,
                type="other" if number % 50 == 0 else "noop",
                pool="default" if number % 4 else "big",
                updated_at=now - timedelta(minutes=number),
                created_at=now + timedelta(milliseconds=number),
                indexed=number % 25 != 0,
                idempotency=Idempotency(scope="s", key=f"k{number}", digest="d") if number % 7 == 0 else None,
                expires_at=now - timedelta(minutes=1) if number % 35 == 0 else None,
                claimed_at=now,
                error=JobError(type="E", message="m", fingerprint=f"f{number % 9}", at=now),
                discarded_at=now if number % 3 else None,
                **running,
            )
        )
    kit.raw.jobs.insert_many([to_document(job) for job in jobs])
    kit.raw.workers.insert_many(
        [
            {
                "_id": f"w-{number}", "service": "s", "host": "h", "pool": "default", "started_at": now,
                "lease_until": now - timedelta(hours=1), "dead_at": now - timedelta(days=9) if number % 2 else None,
            }
            for number in range(40)
        ]
    )  # fmt: skip
    kit.some_id = jobs[0].id
    kit.over = [JobState.FAILED, JobState.COMPLETED]
    kit.pending = [JobState.QUEUED, JobState.PROCESSING]
    return kit


@pytest.mark.parametrize("name", HOT)
async def test_every_hot_query_runs_on_its_index_and_sorts_nothing(filled: Any, name: str) -> None:
    call, expected = HOT[name]
    filled.commands.clear()
    await call(filled)
    used: set[str] = set()
    for command in filled.commands:
        asked = {key: value for key, value in command.items() if key not in NOT_EXPLAINED}
        if "aggregate" in asked:
            asked["cursor"] = {}
        plan = filled.raw.command("explain", asked, verbosity="queryPlanner")
        for stage in stages(plan):
            assert stage["stage"] not in {"COLLSCAN", "SORT"}, (asked, plan)
            if "indexName" in stage:
                used.add(stage["indexName"])
            if stage["stage"] == "IDHACK":
                used.add("_id_")
    assert used == expected


EVERYTHING: list[Call] = [
    *(call for call, _ in HOT.values()),
    lambda kit: kit.put(),
    lambda kit: kit.manager.expire(["a"]),
    lambda kit: kit.manager.mark_unindexed(["a"]),
    lambda kit: kit.manager.mark_indexed(["a"]),
    lambda kit: kit.running(),
    lambda kit: reconcile(kit).pools(),
    lambda kit: kit.reads.counts_by_state(),
    lambda kit: kit.reads.paused(),
    lambda kit: kit.incarnations.renew(["w-1"], lease_seconds=5),
    lambda kit: kit.incarnations.mark_dead("w-2", exit_record=ExitRecord(kind="code"), running=[]),
    lambda kit: LeaderLease(kit.database, name="n", holder="h", seconds=5).acquire(),
    lambda kit: JobTypes(kit.database).register([]),
    lambda kit: JobTypes(kit.database).all(),
    lambda kit: DeadReads(kit.database).groups(DeadFilter()),
    lambda kit: DeadReads(kit.database).count(DeadFilter()),
    lambda kit: Pools(kit.database).pause("p", "why", "me"),
    lambda kit: Pools(kit.database).all(),
    lambda kit: AuditLog(kit.database).write(who="me", tenant=None, action="pause"),
    lambda kit: AuditLog(kit.database).page(None, 9),
]


async def test_every_write_waits_for_a_majority_and_every_read_asks_one_with_a_time_limit(filled: Any) -> None:
    filled.commands.clear()
    for call in EVERYTHING:
        await call(filled)
    names = {next(iter(command)) for command in filled.commands}
    assert {"insert", "update", "findAndModify", "find", "aggregate", "distinct", "delete"} <= names
    for command in filled.commands:
        name = next(iter(command))
        if name in {"getMore", "ping"}:
            continue
        concern = "writeConcern" if name in {"insert", "update", "findAndModify", "delete"} else "readConcern"
        wanted = {"w": "majority"} if concern == "writeConcern" else {"level": "majority"}
        assert {key: command[concern][key] for key in wanted} == wanted, name
        assert command["maxTimeMS"] > 0, name


async def test_indexes_are_made_once_by_however_many_ask(kit: Any) -> None:
    await kit.database.ensure_indexes()
    jobs = set(kit.raw.jobs.index_information()) - {"_id_"}
    assert jobs == {index.document["name"] for index in JOB_INDEXES}
    assert set(kit.raw.workers.index_information()) - {"_id_"} == {index.document["name"] for index in WORKER_INDEXES}


async def test_the_only_expiry_is_on_the_field_that_terminal_updates_set(kit: Any) -> None:
    expiring = {
        name: index["key"] for name, index in kit.raw.jobs.index_information().items() if "expireAfterSeconds" in index
    }
    assert expiring == {"retention": [("expire_at", 1)]}
    assert all("expireAfterSeconds" not in index for index in kit.raw.workers.index_information().values())


async def test_a_registered_type_is_written_for_a_majority(kit: Any) -> None:
    kind = JobType(type="t", policy=make_policy(), payload_schema={})
    await JobTypes(kit.database).register([kind])
    (command,) = [command for command in kit.commands if "update" in command]
    assert command["writeConcern"]["w"] == "majority"


def make_policy() -> Any:
    from headrace.contracts.executor import ExecutionPolicy

    return ExecutionPolicy()
