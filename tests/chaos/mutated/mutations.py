"""The mutants: each a small break of one rule, made in a module right after its import.

Each function gets the module. What they change is private, so they go with the code: a change that a mutant no longer
fits fails loudly (a name or a text that is not there), or its mark is missing and the run says so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

Module = Any


class Instead:
    """Another object with some attributes replaced."""

    def __init__(self, other: Any, **replaced: Any) -> None:
        self.__dict__.update(replaced)
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)


def lua(name: str, old: str, new: str) -> Callable[[Module], None]:
    """A script with another text in one place."""

    def patch(scripts: Module) -> None:
        read = scripts._read

        def changed(script: str) -> str:
            text: str = read(script)
            if script == name:
                if old not in text:
                    raise LookupError(f"{name}.lua does not contain {old!r}")
                text = text.replace(old, new)
            return text

        scripts._read = changed

    return patch


def m1_filter_without_attempt(updates: Module) -> None:
    """What an attempt writes is guarded by the state alone."""
    original = updates.guarded_many

    def guarded_many(job_ids: Any, attempt: int, owner: str | None) -> Any:
        found = original(job_ids, attempt, owner)
        return {"_id": found["_id"], "state": found["state"]}

    updates.guarded_many = guarded_many


def m2_primary_alone(driver: Module) -> None:
    """Writes are acknowledged by the primary alone."""
    original = driver.database

    def database(client: Any, name: str) -> Any:
        return original(client, name).with_options(write_concern=driver.WriteConcern(w=1))

    driver.database = database


def m3_no_recovery(leadership: Module) -> None:
    """Recovery runs and does nothing."""
    leadership.Leadership.is_leading = lambda _: False


def m4_recovery_by_id(state_orphan: Module) -> None:
    """Orphans are handed back by their id, whatever became of them since they were read."""
    state_orphan.updates = Instead(state_orphan.updates, guarded=lambda job_id, *_: {"_id": job_id})


def m5_push_before_insert(commit: Module) -> None:
    """Redis hears of a job before MongoDB has it."""
    original = commit.Committer._store

    async def store(self: Any, pool: str, drafts: Any, *, began: float, push: bool) -> Any:
        if push:
            now_ms = self._clock.now_ms()
            await self._enqueue(pool, [draft.to_job(now_ms, indexed=True) for draft in drafts], [], now_ms)
        return await original(self, pool, drafts, began=began, push=push)

    commit.Committer._store = store


def m7_crashes_do_not_count(orphans: Module) -> None:
    """Only failures count: a worker's death leaves the crash counter alone."""
    original = orphans.decide_orphan

    def decide(orphan: Any, owner: Any, *, max_crashes: int) -> Any:
        found = original(orphan, owner, max_crashes=10**9)
        return orphans.OrphanDecision(found.to, found.reason, orphan.crashes, found.death)

    orphans.decide_orphan = decide


def m8_cancel_in_any_state(state_cancel: Module) -> None:
    """A cancel is written whatever state the job is in."""
    original = state_cancel.Cancelling.cancel

    async def cancel(self: Any, job_id: str, *, tenant: str | None = None, by: str) -> Any:
        jobs = self._jobs

        async def update(filter_: Any, *args: Any, **more: Any) -> Any:
            return await jobs.find_one_and_update({k: v for k, v in filter_.items() if k != "state"}, *args, **more)

        twin = copy.copy(self)
        twin._jobs = Instead(jobs, find_one_and_update=update)
        return await original(twin, job_id, tenant=tenant, by=by)

    state_cancel.Cancelling.cancel = cancel


def m9_rebuild_deletes(rebuild: Module) -> None:
    """Whatever a rebuild adds is added to an emptied set."""
    duty = rebuild.RebuildDuty
    refill, enqueue = duty._refill, duty._enqueue

    async def empty(self: Any, pool: str) -> None:
        queue = self._parts.queue
        await queue._redis.delete(queue._keys.pool(pool).ready)

    async def refill_empty(self: Any, under_way: Any, page: Any) -> None:
        await empty(self, under_way.pool)
        await refill(self, under_way, page)

    async def enqueue_empty(self: Any, under_way: Any, page: Any) -> None:
        await empty(self, under_way.pool)
        await enqueue(self, under_way, page)

    duty._refill, duty._enqueue = refill_empty, enqueue_empty


def m10_clients_clock(incarnations: Module) -> None:
    """A lease ends by the clock of the host that takes it, which is an hour fast."""

    def lease_end(seconds: float) -> Any:
        return datetime.now(UTC) + timedelta(hours=1, seconds=seconds)

    incarnations._lease_end = lease_end


def m11_check_then_act(flow: Module) -> None:
    """The bound is looked at in one step, and places are taken in another."""
    original = flow.FlowVerbs.reserve

    async def reserve(self: Any, pool: str, ids: Any, *, limit: Any, ttl_ms: int = 60_000) -> Any:
        pending = (await original(self, pool, [], limit=0, ttl_ms=ttl_ms)).pending
        limits = [limit] * len(ids) if isinstance(limit, int) else list(limit)
        room = sum(pending + at < most for at, most in enumerate(limits))
        return await original(self, pool, list(ids)[:room], limit=1_000_000, ttl_ms=ttl_ms)

    flow.FlowVerbs.reserve = reserve


def m12_timeout_is_success(state_insert: Module) -> None:
    """An insert that no majority confirmed is answered as if one had."""

    async def look_up(_self: Any, jobs: Any) -> Any:
        return [state_insert.Inserted(state_insert.InsertVerdict.CREATED) for _ in jobs]

    state_insert.Inserting._look_up_inserted = look_up


def m13_lock_for_ever(leases: Module) -> None:
    """The leader's lock does not end; whoever holds it must give it back."""
    original = leases.LeaderLease._try

    async def attempt(self: Any) -> Any:
        table = self._leases

        async def update(filter_: Any, *args: Any, **more: Any) -> Any:
            free = {"_id": filter_["_id"], "$or": [{"holder": self.holder}, {"holder": ""}]}
            return await table.find_one_and_update(free, *args, **more)

        twin = copy.copy(self)
        twin._leases = Instead(table, find_one_and_update=update)
        return await original(twin)

    leases.LeaderLease._try = attempt


def m14_name_as_owner(pool_manager: Module) -> None:
    """Every child of a pool has the same name."""
    pool_manager.new_incarnation = lambda: "w-the-host"


def m14_registers_as_alive(incarnations: Module) -> None:
    """Whoever starts under a name is alive, whatever was said of it."""
    original = incarnations.Incarnations.register

    async def register(self: Any, incarnation_id: str, **more: Any) -> None:
        await original(self, incarnation_id, **more)
        gone = {"exit": "", "running": "", "culprit": ""}
        await self.collection.update_one({"_id": incarnation_id}, {"$set": {"dead_at": None}, "$unset": gone})

    incarnations.Incarnations.register = register


def m15_prefetch(budget: Module) -> None:
    """A hundred jobs are claimed whatever runs."""
    budget.claim_budget = lambda *, waiting, **_: max(0, 100 - waiting)


# -- by hand: one more break for each invariant that is unlike the fifteen -----------------------------------------


def i1_accepts_without_storing(state_insert: Module) -> None:
    """One insert in three is answered and not made."""
    original = state_insert.Inserting.insert
    turn = SimpleNamespace(at=0)

    async def insert(self: Any, jobs: Any) -> Any:
        turn.at += 1
        if turn.at % 3:
            return await original(self, jobs)
        return [state_insert.Inserted(state_insert.InsertVerdict.CREATED) for _ in jobs]

    state_insert.Inserting.insert = insert


def i2_ends_twice(state_settle: Module) -> None:
    """A settlement is written once more, without a filter."""
    original = state_settle.Settling.settle

    async def settle(self: Any, settlements: Any, **more: Any) -> Any:
        found = await original(self, settlements, **more)
        by = more["by"]
        for item in settlements:
            await self._jobs.update_one({"_id": item.job_id}, state_settle.updates.leave(item.to, item.reason, by=by))
        return found

    state_settle.Settling.settle = settle


def i3_attempt_stays(updates: Module) -> None:
    """A claim does not raise the attempt of a job that was claimed before."""
    original = updates.claim

    def claim(**more: Any) -> Any:
        pipeline = original(**more)
        once = {"$max": ["$attempt", 1]}
        fields = pipeline[0]["$set"]
        fields["attempt"] = once
        fields["log"]["$slice"][0]["$concatArrays"][1][0]["attempt"] = once
        return pipeline

    updates.claim = claim


def i4_runs_twice(runner: Module) -> None:
    """An executor is called twice for one attempt."""
    original = runner.Runner._run_async

    async def run_async(self: Any, held: Any, executor: Any, context: Any, payload: Any) -> Any:
        async def execute(*args: Any) -> Any:
            await executor.execute(*args)
            return await executor.execute(*args)

        return await original(self, held, Instead(executor, execute=execute), context, payload)

    runner.Runner._run_async = run_async


def i5_forgets_keys(documents: Module) -> None:
    """Idempotency keys are not stored."""
    original = documents.to_document

    def to_document(job: Any) -> Any:
        return {name: value for name, value in original(job).items() if name != "idempotency"}

    documents.to_document = to_document


def i7_a_little_more(flow: Module) -> None:
    """The bound is five higher than it is."""
    original = flow.FlowVerbs.reserve

    async def reserve(self: Any, pool: str, ids: Any, *, limit: Any, ttl_ms: int = 60_000) -> Any:
        more = limit + 5 if isinstance(limit, int) else [each + 5 for each in limit]
        return await original(self, pool, ids, limit=more, ttl_ms=ttl_ms)

    flow.FlowVerbs.reserve = reserve


def i9_completion_wins(state_settle: Module) -> None:
    """A result is taken although a cancel was accepted."""
    state_settle.updates = Instead(state_settle.updates, not_cancelled=dict)


def i10_retries_for_ever(outcome: Module) -> None:
    """Failures are compared with no limit."""
    original = outcome.failed

    def failed(job: Any, error: BaseException, **more: Any) -> Any:
        return original(job.evolve(max_retries=100), error, **more)

    outcome.failed = failed


def i11_looks_rarely(orphans: Module) -> None:
    """Orphans are looked for every fifteen seconds."""
    orphans.OrphanDuty.seconds = 15.0


def i12_always_ready(probes: Module) -> None:
    """Readiness is said whatever the checks find."""
    original = probes.Readiness.results

    async def results(self: Any) -> Any:
        return {name: replace(found, ok=True) for name, found in (await original(self)).items()}

    probes.Readiness.results = results


QUEUE, STORE = "headrace.runtime.queue", "headrace.runtime.store"
PATCHES: dict[str, tuple[tuple[str, Callable[[Module], None]], ...]] = {
    "M1": ((f"{STORE}.updates", m1_filter_without_attempt),),
    "M2": ((f"{STORE}.mongo_driver", m2_primary_alone),),
    "M3": (("headrace.recovery.leadership", m3_no_recovery),),
    "M4": ((f"{STORE}.state_orphan", m4_recovery_by_id),),
    "M5": (("headrace.scheduler.commit", m5_push_before_insert),),
    "M6": (
        (
            f"{QUEUE}.scripts",
            lua("claim", "local ids, foreign = redis.call('LRANGE', answer, 0, -1), 0", "local ids, foreign = {}, 0"),
        ),
    ),
    "M7": ((f"{STORE}.orphans", m7_crashes_do_not_count),),
    "M8": ((f"{STORE}.state_cancel", m8_cancel_in_any_state),),
    "M9": (("headrace.recovery.rebuild", m9_rebuild_deletes),),
    "M10": ((f"{STORE}.incarnations", m10_clients_clock),),
    "M11": ((f"{QUEUE}.flow", m11_check_then_act),),
    "M12": ((f"{STORE}.state_insert", m12_timeout_is_success),),
    "M13": ((f"{STORE}.leases", m13_lock_for_ever),),
    "M14": (
        ("headrace.worker.pool_manager", m14_name_as_owner),
        (f"{STORE}.incarnations", m14_registers_as_alive),
    ),
    "M15": (("headrace.worker.budget", m15_prefetch),),
    "I1": ((f"{STORE}.state_insert", i1_accepts_without_storing),),
    "I2": ((f"{STORE}.state_settle", i2_ends_twice),),
    "I3": ((f"{STORE}.updates", i3_attempt_stays),),
    "I4": (("headrace.worker.runner", i4_runs_twice),),
    "I5": ((f"{STORE}.documents", i5_forgets_keys),),
    "I6": ((f"{QUEUE}.scripts", lua("remove", "gone = gone + each('ZREM', KEYS[i], ARGV)", "gone = gone + #ARGV")),),
    "I7": ((f"{QUEUE}.flow", i7_a_little_more),),
    "I8": ((f"{QUEUE}.scripts", lua("claim", "'ZPOPMIN'", "'ZPOPMAX'")),),
    "I9": ((f"{STORE}.state_settle", i9_completion_wins),),
    "I10": (("headrace.worker.outcome", i10_retries_for_ever),),
    "I11": (("headrace.recovery.orphans", i11_looks_rarely),),
    "I12": (("headrace.runtime.web.probes", i12_always_ready),),
}
"""Mutant → the modules that it changes, and how."""
