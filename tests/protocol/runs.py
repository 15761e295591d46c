"""The runs by name: the rules as they are, holes (one rule taken away), mutants (one mistake made)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import bound
from .canon import plain, tidy
from .checks import GOALS, check_state
from .explore import Model
from .steps import steps
from .values import Cfg, System, start

JOBS: Model[System, Cfg] = Model(start=start, steps=steps, tidy=tidy, plain=plain, check=check_state, goals=GOALS)


@dataclass(frozen=True)
class Run:
    """One exploration. `finds`: how the violation it must find begins; None: it must find nothing.

    `quick`: part of the test suite; the others take minutes and gigabytes.
    """

    cfg: Any
    finds: str | None = None
    quick: bool = False
    model: Model[Any, Any] = JOBS


CALM: dict[str, Any] = {"faults": 0, "repair": False}
"""Nothing failed: nothing may depend on a repair."""
SMALL: dict[str, Any] = {"releases": 0, "retries": 0, "cancels": False}
DEATHS: dict[str, Any] = {"late": False, "wild": False}
"""Faults: deaths, false deaths, lost replies, errors."""
FLUSH: dict[str, Any] = {"flush": True, "wild": False, "late": False, "deaths": False, "lost": False}
"""Faults: Redis is emptied, and nothing else."""

DESIGN = {
    "calm-1": Run(Cfg(**CALM), quick=True),
    "calm-2": Run(Cfg(jobs=2, batch=2, cancels=False, **CALM), quick=True),
    "no-fault": Run(Cfg(faults=0), quick=True),
    "one-fault": Run(Cfg(faults=1, **SMALL), quick=True),
    "rebuild": Run(Cfg(faults=2, **SMALL, **FLUSH), quick=True),
    "one-fault-cancel": Run(Cfg(faults=1, releases=0, retries=0)),
    "one-fault-retry": Run(Cfg(faults=1, releases=0, cancels=False, flush=True)),
    "two-recoveries": Run(Cfg(faults=1, recoveries=2, **SMALL)),
    "rebuild-two-recoveries": Run(Cfg(faults=2, recoveries=2, **SMALL, **FLUSH)),
    "rebuild-two-jobs": Run(Cfg(jobs=2, workers=1, faults=2, **SMALL, **FLUSH)),
    "two-deaths": Run(Cfg(faults=2, **SMALL, **DEATHS)),
    "three-deaths": Run(Cfg(faults=3, **SMALL, **DEATHS)),
    "two-faults-redis": Run(Cfg(faults=2, late=False, **SMALL)),
    "two-faults": Run(Cfg(faults=2, **SMALL)),
    "two-jobs": Run(Cfg(jobs=2, batch=2, faults=0, **SMALL)),
}
HOLES = {
    "find_owned": Run(Cfg(faults=2, find_owned=False, **SMALL, **DEATHS), "I4", quick=True),
    "audit": Run(Cfg(faults=1, workers=1, wild=False, audit=False, **SMALL), "I1 stuck", quick=True),
    "exits_cancel": Run(Cfg(faults=0, exits_cancel=False), "I9", quick=True),
    "judge_refused": Run(Cfg(**CALM, cancels=False, judge_refused=False), "I1 stuck", quick=True),
    "guard_full": Run(Cfg(faults=1, guard_full=False, **SMALL), "I3", quick=True),
    # Costs drift and the count, not a promise: found by no run, so this one says that nothing is found.
    "guard_redis": Run(Cfg(faults=1, guard_redis=False, **SMALL, **DEATHS)),
    "sweep_all": Run(Cfg(faults=1, wild=False, late=False, sweep_all=False, **SMALL), "I1 stuck", quick=True),
}
MUTANTS = {
    "settle_without_attempt": Run(Cfg(faults=1, settle_without_attempt=True, **SMALL, **DEATHS), "I3", quick=True),
    "orphan_by_id": Run(Cfg(faults=1, orphan_by_id=True, **SMALL, **DEATHS), "I", quick=True),
    "push_before_insert": Run(Cfg(**CALM, cancels=False, push_before_insert=True), "I1", quick=True),
    "claim_any_state": Run(Cfg(faults=1, claim_any_state=True, **SMALL), "I", quick=True),
    "cancel_any_state": Run(Cfg(faults=0, cancel_any_state=True), "I", quick=True),
    "rebuild_deletes": Run(Cfg(faults=1, rebuild_deletes=True, **SMALL, **FLUSH), "I6", quick=True),
    "finish_unmarked": Run(Cfg(faults=2, finish_unmarked=True, **SMALL, **FLUSH), "I7/I8", quick=True),
}
WIDE = {  # larger than any limit: searched breadth first as far as it goes
    "two-jobs-fault": Run(Cfg(jobs=2, batch=2, faults=1, **SMALL, **DEATHS)),
}


def _bound(finds: str | None = None, *, quick: bool = True, **more: Any) -> Run:
    return Run(bound.Cfg(**more), finds, quick=quick, model=bound.MODEL)


BOUND = {
    "bound-1": _bound(),
    "bound-2": _bound(bound=2),
    "bound-two-crashes": _bound(faults=2),
    "bound-redis-emptied": _bound(lose_redis=True, requests=("a", "b")),
    "bound-redis-emptied-three": _bound(lose_redis=True, quick=False),
    "bound-same-key": _bound(requests=("a", "a", "b"), lost_reply=True),
    "bound-waiting-counted": _bound("I7", counts_running=False, faults=0),
    "bound-places-end-with-their-time": _bound("I7", reap=False),
    "bound-empty-redis-counts-as-empty": _bound("I7", lose_redis=True, gate=False),
    "bound-asked-before-the-key": _bound("I5", requests=("a", "a", "b"), key_first=False, lost_reply=True),
    "bound-scheduler-outlives-its-place": _bound("I7", slow=True, faults=0),
    "bound-2-redis-emptied": _bound(bound=2, lose_redis=True, quick=False),
    "bound-count-forgets-what-came-since": _bound("I7", lose_redis=True, adds_since=False),
    "bound-count-forgets-what-came-while-it-looked": _bound("I7", lose_redis=True, since_begin=False),
    "bound-rebuild-ends-during-an-insert": _bound("I7", lose_redis=True, alone=False),
}
GROUPS = {"design": DESIGN, "holes": HOLES, "mutants": MUTANTS, "bound": BOUND, "wide": WIDE}
RUNS = {name: run for group in GROUPS.values() for name, run in group.items()}
QUICK = {name: run for name, run in RUNS.items() if run.quick}
