"""The state of the whole system as one immutable value, and the settings of a run.

One job is one document and one place in Redis. A state holds the documents, Redis, and where every process is in its
program; a slow or paused process is one that is not scheduled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

UNKNOWN = "unknown"
"""The reply a caller has when it has none."""
TERMINAL = "CFX"
"""Completed, failed, cancelled. Before the end: N no document, Q queued, P processing."""
PENDING = "QP"
NOWHERE, READY, DELAYED, INFLIGHT = 0, 1, 2, 3
"""Places of an id in Redis. `INFLIGHT` is under no token; in flight under a token is that token's name."""
NEW_TOKEN, NEW_INCARNATION, NEW_MARKER = "#t", "#i", "#m"
"""Fresh names. `canon` renames them by order of appearance, since only equality counts."""

Op = tuple[Any, ...]
"""One external call: its name and its arguments."""


class ViolationError(Exception):
    """A promise was broken. `label` is the step that would have done it."""

    label = "?"


@dataclass(frozen=True)
class Cfg:
    """Bounds, faults, rules and mutants of one run. The defaults are the rules as the code has them."""

    jobs: int = 1
    workers: int = 2
    recoveries: int = 1
    batch: int = 1
    releases: int = 1
    """Releases of claims that had not started (shutdowns, claimed ahead too long)."""
    retries: int = 1
    max_crashes: int = 2
    cancels: bool = True
    repair: bool = True
    """Orphans, sweep, reconcile, rebuild. Off: nothing may depend on repair when nothing failed."""
    # faults: each costs one of the budget
    faults: int = 0
    lost: bool = True
    """A reply may be lost, with the call applied or not."""
    late: bool = True
    """A call may be applied after its caller gave it up or died."""
    deaths: bool = True
    """Processes may die, and live workers may be declared dead."""
    wild: bool = True
    """Any id may be anywhere in Redis: an old copy, an eviction, a forgery."""
    flush: bool = False
    """Redis may be emptied, with its epoch and every rebuild's marker."""
    # rules; False is what the outline of the architecture said before the exploration
    find_owned: bool = True
    audit: bool = True
    exits_cancel: bool = True
    judge_refused: bool = True
    guard_full: bool = True
    sweep_all: bool = True
    guard_redis: bool = True
    # mutants: mistakes that the checks must catch
    settle_without_attempt: bool = False
    orphan_by_id: bool = False
    push_before_insert: bool = False
    claim_any_state: bool = False
    cancel_any_state: bool = False
    rebuild_deletes: bool = False
    finish_unmarked: bool = False


class Doc(NamedTuple):
    """One job document. `exits`: of its log, who ended which attempt how: (attempt, by, to)."""

    st: str = "N"
    att: int = 0
    owner: str = ""
    tok: str = ""
    due: bool = True
    creq: bool = False
    crashes: int = 0
    fails: int = 0
    exits: tuple[tuple[int, str, str], ...] = ()


class Db(NamedTuple):
    """Both servers."""

    docs: tuple[Doc, ...]
    locs: tuple[int | str, ...]
    ans: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """`claim:<token>`: the ids that a token got."""
    epoch: bool = True
    marker: str = ""
    swept: tuple[str, ...] = ()
    """Incarnations that were swept; only without the rule `sweep_all`."""


class Worker(NamedTuple):
    """A worker child: its claim loop and settler as one program, its audit beside it."""

    inc: str
    pc: str = "idle"
    marked: bool = False
    """`dead_at` is set although the process lives."""
    tok: str = ""
    ids: tuple[Any, ...] = ()
    held: tuple[tuple[int, int], ...] = ()
    """(job, attempt); the first one runs."""
    out: str = ""
    direct: bool = False
    """The ids come straight from MongoDB, because Redis did not answer."""
    aud: tuple[Any, ...] = ()
    """What the audit remembers or is about to push."""


class System(NamedTuple):
    """Everything."""

    db: Db
    workers: tuple[Worker, ...]
    recos: tuple[tuple[Any, ...], ...]
    scheds: tuple[str, ...]
    cans: tuple[str, ...]
    late: tuple[Op, ...]
    faults: int
    rels: int


IDLE: tuple[Any, ...] = ("idle",)
"""A recovery between two duties."""


def put(items: tuple[T, ...], i: int, value: T) -> tuple[T, ...]:
    """`items` with `value` at `i`."""
    return (*items[:i], value, *items[i + 1 :])


def always(value: T) -> Callable[[Any], T]:
    """The continuation of a call whose reply changes nothing."""
    return lambda _: value


def start(cfg: Cfg) -> System:
    """Nothing submitted yet, every process idle."""
    return System(
        db=Db(docs=(Doc(),) * cfg.jobs, locs=(NOWHERE,) * cfg.jobs),
        workers=tuple(Worker(f"#i{i}") for i in range(cfg.workers)),
        recos=(IDLE,) * cfg.recoveries,
        scheds=("start",) * cfg.jobs,
        cans=("start",) * cfg.jobs,
        late=(),
        faults=cfg.faults,
        rels=cfg.releases,
    )
