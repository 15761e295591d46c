"""The bound (I7) and idempotency keys (I5) in a model of their own: two schedulers, three submissions, one pool.

A submission: reserve a place in Redis, insert into MongoDB, enqueue (which turns the place into the id), answer. While
Redis is not complete the jobs are counted in MongoDB instead. Workers pop, claim, and settle or retry, MongoDB first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .explore import Model
from .values import ViolationError, put

NOWHERE, RESERVED, EXPIRED, READY, INFLIGHT = range(5)
NO_COUNT, BEGUN = -2, -1
Move = tuple[str, bool, "System"]


@dataclass(frozen=True)
class Cfg:
    """Bounds, rules and failures of one run."""

    bound: int = 1
    requests: tuple[str, ...] = ("a", "b", "c")
    """The idempotency key of each submission; equal letters are a client's repeat."""
    faults: int = 1
    # rules; the other value is what the outline said
    counts_running: bool = True
    """The bound counts every job that is not over, not the waiting ones alone."""
    reap: bool = True
    """An expired place counts until recovery has looked for its job."""
    gate: bool = True
    """After a loss Redis grants nothing until the rebuild is done."""
    key_first: bool = True
    """A known idempotency key is answered before the bound is asked."""
    alone: bool = True
    """No insert that was counted in MongoDB is under way when the rebuild ends, and schedulers know each other's."""
    adds_since: bool = True
    """What was stored since a count began is added to it."""
    since_begin: bool = True
    """Since it began, not since it was answered."""
    # failures
    slow: bool = False
    """A live scheduler may stay away longer than a place lives."""
    crash: bool = True
    lose_redis: bool = False
    lost_reply: bool = False


class System(NamedTuple):
    """Everything."""

    docs: tuple[str, ...]
    locs: tuple[int, ...]
    procs: tuple[str, ...]
    """Submissions: new, placed, counted, stored; answered 201, 200, 429; dead; info (answered with an unknown)."""
    workers: tuple[tuple[str, int], ...]
    ready: bool
    faults: int
    known: int = -1
    """What the last count found; -1: there was none."""
    since: int = 0
    """What may have been stored since it began."""
    counting: int = NO_COUNT
    """What the count under way has found: `NO_COUNT`, `BEGUN` or a number."""
    counting_since: int = 0


UNDER_WAY = ("placed", "counted", "stored")


def tidy(s: System, cfg: Cfg) -> System:
    """Counts by which nobody can be let in any more are none, and what came since matters up to the bound."""
    if s.known < 0 or s.known + s.since >= cfg.bound:
        s = s._replace(known=-1, since=0)
    return s._replace(counting_since=min(s.counting_since, cfg.bound) if s.counting != NO_COUNT else 0)


def start(cfg: Cfg) -> System:
    """Nothing submitted."""
    n = len(cfg.requests)
    return System(("N",) * n, (NOWHERE,) * n, ("new",) * n, (("idle", -1),) * 2, True, cfg.faults)


def used(s: System, cfg: Cfg) -> int:
    """What Redis counts."""
    counted = {RESERVED, READY} | ({INFLIGHT} if cfg.counts_running else set()) | ({EXPIRED} if cfg.reap else set())
    return sum(at in counted for at in s.locs)


def known(s: System, cfg: Cfg, r: int) -> int | None:
    """The job that already carries the key of submission `r`."""
    return next((k for k, d in enumerate(s.docs) if d != "N" and cfg.requests[k] == cfg.requests[r]), None)


def steps(s: System, cfg: Cfg) -> Iterator[Move]:
    """Every step: (label, is it progress?, next state)."""
    for r in range(len(s.procs)):
        yield from _submission(s, cfg, r)
        yield from _recovery(s, cfg, r)
    for i in range(len(s.workers)):
        yield from _worker(s, i)
    if s.faults and cfg.lose_redis and any(s.locs):
        yield "Redis is emptied", False, s._replace(locs=(NOWHERE,) * len(s.locs), ready=False, faults=s.faults - 1)
    added = all(d not in "QP" or at != NOWHERE for d, at in zip(s.docs, s.locs, strict=True))
    if not s.ready and added and not (cfg.alone and any(p in UNDER_WAY for p in s.procs)):
        # The counts are of no more use: the next loss begins with a new one.
        done = s._replace(ready=True, known=-1, since=0, counting=NO_COUNT, counting_since=0)
        yield "the rebuild is declared finished", True, done
    if not s.ready:
        yield from _count(s, cfg)


def _count(s: System, cfg: Cfg) -> Iterator[Move]:
    """A count is asked for, looks, and is answered, each in its time."""
    if s.counting == NO_COUNT:
        yield "a count begins", True, s._replace(counting=BEGUN, counting_since=0)
    elif s.counting == BEGUN:
        yield "the count looks", True, s._replace(counting=sum(d in "QP" for d in s.docs))
    else:
        since = s.counting_since if cfg.since_begin else 0
        yield "the count is known", True, s._replace(known=s.counting, since=since, counting=NO_COUNT, counting_since=0)


def _submission(s: System, cfg: Cfg, r: int) -> Iterator[Move]:
    pc, mine = s.procs[r], known(s, cfg, r)
    ends = pc in ("placed", "counted") and not s.ready and cfg.adds_since

    def to(state: str, **more: object) -> System:
        more |= {"since": s.since + ends, "counting_since": s.counting_since + ends}
        return s._replace(procs=put(s.procs, r, state), **more)  # type: ignore[arg-type]

    if pc == "new":
        yield from _admission(s, cfg, r)
    if pc in ("placed", "counted"):
        if mine is None:
            docs = put(s.docs, r, "Q")
            yield f"S{r} inserts", True, to("stored", docs=docs)
            if s.faults and cfg.lost_reply:
                yield f"S{r} inserts [reply lost: 503]", False, to("info", docs=docs, faults=s.faults - 1)
        else:
            locs = put(s.locs, r, NOWHERE) if s.locs[r] in (RESERVED, EXPIRED) else s.locs
            yield f"S{r} meets its key at the insert", True, to("200", locs=locs)
    if pc == "stored":
        at = READY if s.locs[r] in (NOWHERE, RESERVED, EXPIRED) else s.locs[r]
        yield f"S{r} enqueues and answers 201", True, to("201", locs=put(s.locs, r, at))
    if pc in UNDER_WAY and s.faults and cfg.crash:
        yield f"S{r} dies ({pc})", False, to("dead", faults=s.faults - 1)


def _admission(s: System, cfg: Cfg, r: int) -> Iterator[Move]:
    mine = known(s, cfg, r)

    def to(state: str, **more: object) -> System:
        return s._replace(procs=put(s.procs, r, state), **more)  # type: ignore[arg-type]

    if cfg.key_first and mine is not None:
        yield f"S{r} finds its key", True, to("200")
    elif s.ready or not cfg.gate:
        if used(s, cfg) < cfg.bound:
            yield f"S{r} reserves", True, to("placed", locs=put(s.locs, r, RESERVED))
        elif mine is None:
            yield f"S{r} refuses", True, to("429")
        else:
            bad = ViolationError("I5/I7 a repeat of a stored submission is answered 429")
            bad.label = f"S{r} refuses"
            raise bad
    elif s.known >= 0 and s.known + s.since + sum(p in ("placed", "counted") for p in s.procs) < cfg.bound:
        # One scheduler knows its own inserts under way; two do not know each other's, which is the admitted overshoot.
        yield f"S{r} is let in by the count", True, to("counted")


def _recovery(s: System, cfg: Cfg, r: int) -> Iterator[Move]:
    if s.locs[r] == RESERVED and (s.procs[r] not in ("placed", "stored") or cfg.slow):
        after = EXPIRED if cfg.reap else NOWHERE
        yield f"the place of {r} expires", True, s._replace(locs=put(s.locs, r, after))
    if s.locs[r] == EXPIRED:
        where = READY if s.docs[r] == "Q" else NOWHERE
        yield f"recovery resolves the place of {r}", True, s._replace(locs=put(s.locs, r, where))
    if s.docs[r] in "QP" and s.locs[r] == NOWHERE:
        where = READY if s.docs[r] == "Q" else INFLIGHT
        yield f"reconcile adds {r}", True, s._replace(locs=put(s.locs, r, where))
    if s.docs[r] == "C" and s.locs[r] != NOWHERE:
        yield f"reconcile removes {r}", True, s._replace(locs=put(s.locs, r, NOWHERE))


def _worker(s: System, i: int) -> Iterator[Move]:
    pc, j = s.workers[i]

    def to(state: str, job: int, **more: object) -> System:
        return s._replace(workers=put(s.workers, i, (state, job)), **more)  # type: ignore[arg-type]

    if pc == "idle":
        for k, at in enumerate(s.locs):
            if at == READY:
                yield f"W{i} pops {k}", True, to("popped", k, locs=put(s.locs, k, INFLIGHT))
    elif pc == "popped" and s.docs[j] == "Q":
        yield f"W{i} claims {j}", True, to("run", j, docs=put(s.docs, j, "P"))
    elif pc == "popped":
        yield f"W{i} is refused {j}", True, to("idle", -1)
    elif pc == "run":
        yield f"W{i} completes {j}", True, to("done", j, docs=put(s.docs, j, "C"))
        yield f"W{i} retries {j}", True, to("again", j, docs=put(s.docs, j, "Q"))
    elif pc == "done":
        yield f"W{i} settles {j} in Redis", True, to("idle", -1, locs=put(s.locs, j, NOWHERE))
    elif pc == "again":
        yield f"W{i} requeues {j} in Redis", True, to("idle", -1, locs=put(s.locs, j, READY))


def check(s: System, cfg: Cfg) -> None:
    """I7 and I5.

    Raises:
        ViolationError: More jobs than the bound, or two jobs of one key.
    """
    pending = sum(d in ("QP" if cfg.counts_running else "Q") for d in s.docs)
    if pending > cfg.bound:
        raise ViolationError(f"I7 {pending} jobs in MongoDB, bound {cfg.bound}")
    for key in set(cfg.requests):
        if sum(d != "N" and k == key for d, k in zip(s.docs, cfg.requests, strict=True)) > 1:
            raise ViolationError("I5 two jobs for one idempotency key")


def finished(s: System) -> bool:
    """Every job is over and Redis is empty."""
    return all(d in "NC" for d in s.docs) and not any(s.locs)


MODEL: Model[System, Cfg] = Model(
    start=start,
    steps=steps,
    tidy=tidy,
    plain=lambda s: s,
    check=check,
    goals=(("I1 stuck: not all jobs can end and Redis be empty", finished),),
)
