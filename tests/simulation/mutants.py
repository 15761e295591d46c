"""Mistakes made on purpose, each in the product's own code or in a script of the model Redis, to see them found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from headrace.contracts.job import Job
from headrace.recovery import orphans as orphan_duty
from headrace.recovery.counts import Counts
from headrace.recovery.orphans import OrphanDuty
from headrace.recovery.rebuild import RebuildDuty
from headrace.runtime.queue import Verdict
from headrace.runtime.store import orphans as orphan_rules
from headrace.runtime.store import state_orphan, state_settle, updates
from headrace.runtime.store.faults import writing
from headrace.runtime.store.state_claim import Claiming
from headrace.runtime.store.values import Inserted, InsertVerdict
from headrace.scheduler.commit import Committer
from headrace.worker import refused
from headrace.worker.audit import Audit, AuditCounts

from . import redis_scripts, redis_server
from .patches import simulation
from .redis_server import RedisModel


@dataclass(frozen=True)
class Mutant:
    """A mistake.

    Attributes:
        made: Makes it for a while.
        theme: Of the schedules that are to show it.
        finds: How a violation that shows it begins.
        within: Among how many of the theme's first schedules one must show it.
        is_quick: Whether it is part of the quick tests.
    """

    made: Callable[[], AbstractContextManager[None]]
    theme: str
    finds: tuple[str, ...]
    within: int
    is_quick: bool = False


@contextmanager
def _swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _with_updates(module: Any, **changed: Any) -> AbstractContextManager[None]:
    """Let one module see other filters and pipelines."""
    return _swapped(module, "updates", SimpleNamespace(**{**vars(updates), **changed}))


def _by_id(job_ids: Sequence[str] | str, attempt: int, owner: str | None) -> dict[str, Any]:
    return {"_id": job_ids if isinstance(job_ids, str) else {"$in": list(job_ids)}}


def _in_processing(job_ids: Sequence[str], attempt: int, owner: str | None) -> dict[str, Any]:
    return {"_id": {"$in": list(job_ids)}, "state": "processing"}


def _script(name: str, changed: redis_scripts.Script) -> AbstractContextManager[None]:
    scripts = dict(redis_server.SCRIPTS)
    scripts[name] = changed
    return _swapped(redis_server, "SCRIPTS", scripts)


# -- the mistakes ----------------------------------------------------------------------------------------------


def guard_without_attempt() -> AbstractContextManager[None]:
    """Settlements ask for the state alone, not for attempt and owner."""
    return _with_updates(state_settle, guarded_many=_in_processing)


def settle_by_id() -> AbstractContextManager[None]:
    """A settlement that is repeated after a lost answer is written twice."""
    return _with_updates(state_settle, guarded_many=_by_id)


def recovery_by_id() -> AbstractContextManager[None]:
    """Recovery hands back what it read, whatever became of it."""
    return _with_updates(state_orphan, guarded=_by_id)


def cancel_not_in_filter() -> AbstractContextManager[None]:
    """A settlement does not look whether a cancel was accepted."""
    return _with_updates(state_settle, not_cancelled=dict)


def answer_before_insert() -> AbstractContextManager[None]:
    """The client hears 201 while the insert is on its way."""
    real = Committer._insert

    async def insert(self: Committer, jobs: Sequence[Job]) -> list[Inserted]:
        self._tasks.afterwards("insert", real(self, jobs))
        return [Inserted(InsertVerdict.CREATED)] * len(jobs)

    return _swapped(Committer, "_insert", insert)


def no_audit() -> AbstractContextManager[None]:
    """A child never asks what it owns."""

    async def run_once(self: Audit, *, final: bool = False) -> AuditCounts:
        return AuditCounts()

    return _swapped(Audit, "run_once", run_once)


def no_orphans() -> AbstractContextManager[None]:
    """Nobody hands back the jobs of the dead."""

    async def run_once(self: OrphanDuty) -> Counts:
        return Counts()

    return _swapped(OrphanDuty, "run_once", run_once)


def crashes_not_counted() -> AbstractContextManager[None]:
    """A job may kill its worker for ever."""
    decide = orphan_rules.decide_orphan

    def changed(orphan: Any, owner: Any, *, max_crashes: int) -> Any:
        return decide(replace(orphan, crashes=0), owner, max_crashes=max_crashes)

    return _swapped(orphan_duty, "decide_orphan", changed)


def refused_are_dropped() -> AbstractContextManager[None]:
    """What MongoDB refuses is taken for a ghost."""

    def judge(place: Any, **known: Any) -> Verdict:
        return Verdict(place.job_id, "drop")

    return _swapped(refused, "judge", judge)


def claim_forgets_in_flight() -> AbstractContextManager[None]:
    """The script pops ids and notes nowhere that they are in flight."""

    def claim(server: RedisModel, keys: list[str], args: list[str]) -> list[Any]:
        answer = redis_scripts.claim(server, keys, args)
        for job_id in answer[4]:
            server.zset(keys[2]).pop(job_id, None)
            server.hash(keys[3]).pop(job_id, None)
        return answer

    return _script("claim", claim)


def bound_not_asked() -> AbstractContextManager[None]:
    """Places are given to everybody."""

    def reserve(server: RedisModel, keys: list[str], args: list[str]) -> list[int]:
        count = int(args[1])
        return redis_scripts.reserve(
            server,
            keys,
            [*args[:2], *(part for at in range(count) for part in ("9999", args[3 + 2 * at])), *args[2 + 2 * count :]],
        )

    return _script("reserve", reserve)


def rebuild_swaps() -> AbstractContextManager[None]:
    """A rebuild ends by putting what it has read in the place of what is there."""
    real = RebuildDuty._add_changed

    async def add_changed(self: RebuildDuty, rebuild: Any) -> bool:
        done = await real(self, rebuild)
        sim = simulation()
        read = {job_id for key in SETS for job_id in sim.redis.zset(getattr(sim.keys, key))}
        await asyncio.sleep(1.0)
        for key in SETS:
            members = sim.redis.zset(getattr(sim.keys, key))
            for job_id in set(members) - read:
                del members[job_id]
        return done

    return _swapped(RebuildDuty, "_add_changed", add_changed)


SETS = ("ready", "delayed", "inflight")


def claim_of_any_state() -> AbstractContextManager[None]:
    """A claim takes jobs of any state."""

    async def claim(self: Claiming, job_ids: Sequence[str], *, token: str, owner: str, **known: Any) -> list[Job]:
        with writing("claim"):
            await self._jobs.update_many({"_id": {"$in": list(job_ids)}}, updates.claim(token=token, owner=owner))
        return await self.claimed(token=token, owner=owner)

    return _swapped(Claiming, "claim", claim)


MUTANTS: dict[str, Mutant] = {
    "guard-without-attempt": Mutant(guard_without_attempt, "zombies", ("I3",), 120, is_quick=True),
    "settle-by-id": Mutant(settle_by_id, "late", ("I2", "I3"), 60),
    "recovery-by-id": Mutant(recovery_by_id, "crashes", ("I2", "I3", "I9"), 100),
    "cancel-not-in-filter": Mutant(cancel_not_in_filter, "cancels", ("I9",), 60),
    "answer-before-insert": Mutant(answer_before_insert, "mixed", ("I1", "I12"), 40, is_quick=True),
    "no-audit": Mutant(no_audit, "late", ("I1", "I4", "I9"), 60, is_quick=True),
    "no-orphans": Mutant(no_orphans, "crashes", ("I1",), 40),
    "crashes-not-counted": Mutant(crashes_not_counted, "crashes", ("I1", "I10"), 60),
    "refused-are-dropped": Mutant(refused_are_dropped, "losses", ("I6", "I7"), 60, is_quick=True),
    "claim-forgets-in-flight": Mutant(claim_forgets_in_flight, "mixed", ("I6", "I7"), 120),
    "bound-not-asked": Mutant(bound_not_asked, "mixed", ("I7",), 120),
    "rebuild-swaps": Mutant(rebuild_swaps, "losses", ("I6", "I7"), 200),
    "claim-of-any-state": Mutant(claim_of_any_state, "losses", ("I2", "I3", "I4"), 60),
}
