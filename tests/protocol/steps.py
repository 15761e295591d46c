"""Every step possible in a state, and every fault: (label, is it progress?, next state)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .canon import key
from .checks import check_complete
from .clients import cancel_steps, submit_steps
from .recovery import recovery_steps
from .servers import NEVER_LATE, QUIET, apply
from .values import DELAYED, IDLE, INFLIGHT, NEW_INCARNATION, NOWHERE, READY, UNKNOWN, Cfg, Op, System, Worker, put
from .worker import worker_steps

Move = tuple[str, bool, System]
FIELDS = {"W": "workers", "R": "recos", "S": "scheds", "K": "cans"}
PROGRAMS: dict[str, Callable[[System, int, Cfg], Iterator[tuple[str, Op, Callable[[Any], Any]]]]] = {
    "W": worker_steps,
    "R": recovery_steps,
    "S": submit_steps,
    "K": cancel_steps,
}


def steps(s: System, cfg: Cfg) -> Iterator[Move]:
    """All moves from `s`.

    Raises:
        ViolationError: One of them breaks a promise.
    """
    for tag, field in FIELDS.items():
        if tag == "K" and not cfg.cancels:
            continue
        for i in range(len(getattr(s, field))):
            yield from _calls(s, tag, i, cfg)
            if s.faults and cfg.deaths:
                yield from _deaths(s, tag, i)
    yield from _world(s, cfg)
    if not cfg.sweep_all and cfg.repair:
        yield from _swept_once(s)


def _calls(s: System, tag: str, i: int, cfg: Cfg) -> Iterator[Move]:
    field = FIELDS[tag]
    procs = getattr(s, field)
    for label, op, cont in PROGRAMS[tag](s, i, cfg):
        name = f"{tag}{i} {label}"
        is_progress = tag != "K" or procs[i] != "start"
        db, reply = apply(s.db, op, cfg, name)
        rels = s.rels - (label == "release")
        after = _with(s._replace(db=db, rels=rels), field, put(procs, i, cont(reply)))
        if op[0] == "finish" and reply:
            check_complete(after, name, cfg)
        yield name, is_progress, after
        if s.faults and op[0] not in QUIET:
            unsure = put(procs, i, cont(UNKNOWN))
            failed = _with(s._replace(faults=s.faults - 1, rels=rels), field, unsure)
            yield from _failures(s, failed, (tag, i, name), op, cfg, db=db, changed=unsure != procs)


def _failures(
    s: System, failed: System, caller: tuple[str, int, str], op: Op, cfg: Cfg, *, db: Any, changed: bool
) -> Iterator[Move]:
    tag, i, name = caller
    if cfg.lost:
        if op[0] not in NEVER_LATE:
            yield name + " [applied, reply lost]", False, failed._replace(db=db)
        if changed:
            yield name + " [not applied, error]", False, failed
    if cfg.late and len(s.late) < 2 and op[0] not in NEVER_LATE:
        late = tuple(sorted((*s.late, op), key=key))
        yield name + " [reply lost, applied later]", False, failed._replace(late=late)
        if tag in "WS" and cfg.deaths:
            yield name + " [caller dies, applied later]", False, _dead(failed, tag, i)._replace(late=late)


def _dead(s: System, tag: str, i: int) -> System:
    dead: Any = {"R": IDLE, "S": "dead", "K": "dead"}.get(tag)
    if tag == "W":
        dead = Worker(s.workers[i].inc, "gone")
    return _with(s, FIELDS[tag], put(getattr(s, FIELDS[tag]), i, dead))


def _with(s: System, field: str, value: tuple[Any, ...]) -> System:
    changed: dict[str, Any] = {field: value}
    return s._replace(**changed)


def _deaths(s: System, tag: str, i: int) -> Iterator[Move]:
    p = getattr(s, FIELDS[tag])[i]
    hit = s._replace(faults=s.faults - 1)
    if tag == "W" and p.pc != "gone":
        yield f"W{i} dies", False, _dead(hit, tag, i)
        if not p.marked:
            marked = put(s.workers, i, p._replace(marked=True))
            yield f"W{i} is marked dead while alive", False, hit._replace(workers=marked)
    if (tag == "S" and p in ("half", "unsure")) or (tag == "R" and p != IDLE):
        yield f"{tag}{i} dies", False, _dead(hit, tag, i)


def _world(s: System, cfg: Cfg) -> Iterator[Move]:
    """New incarnations, late calls, time, and what happens to Redis."""
    for i, w in enumerate(s.workers):
        if w.pc == "gone" or w.marked:  # after a death; a child marked dead stops everything
            yield f"W{i} begins a new incarnation", True, s._replace(workers=put(s.workers, i, Worker(NEW_INCARNATION)))
    for k, op in enumerate(s.late):
        name = f"a late {op[0]} is applied"
        db, _ = apply(s.db, op, cfg, name)
        yield name, True, s._replace(db=db, late=s.late[:k] + s.late[k + 1 :])
    for j, d in enumerate(s.db.docs):
        if d.st == "Q" and not d.due:
            db = s.db._replace(docs=put(s.db.docs, j, d._replace(due=True)))
            yield f"job {j} falls due", True, s._replace(db=db)
    if s.faults and cfg.wild:
        for j, now in enumerate(s.db.locs):
            for at in (NOWHERE, READY, DELAYED, INFLIGHT):
                if now != at:
                    db = s.db._replace(locs=put(s.db.locs, j, at), ans=())
                    yield f"Redis changes under us: {j} at {at}", False, s._replace(db=db, faults=s.faults - 1)
    if s.faults and cfg.flush and (s.db.epoch or s.db.marker):
        db = s.db._replace(locs=(NOWHERE,) * len(s.db.locs), ans=(), epoch=False, marker="")
        yield "Redis is emptied", False, s._replace(db=db, faults=s.faults - 1)


def _swept_once(s: System) -> Iterator[Move]:
    """The other reading of the outline: each dead incarnation is swept once."""
    known_dead = {w.inc for w in s.workers if w.pc == "gone" or w.marked}
    known_dead |= {d.owner for d in s.db.docs if d.st == "P"} - {w.inc for w in s.workers}
    for owner in sorted(known_dead - set(s.db.swept)):
        db = s.db._replace(swept=(*s.db.swept, owner))
        for i, r in enumerate(s.recos[:1]):
            if r == IDLE:
                mine = [(j, d) for j, d in enumerate(s.db.docs) if d.st == "P" and d.owner == owner]
                after = ("orphan", mine[0][0], mine[0][1].att, owner, mine[0][1].tok, False) if mine else r
                yield f"R{i} sweeps incarnation {owner} once", True, s._replace(db=db, recos=put(s.recos, i, after))
