"""Recovery, step by step: orphans, sweep, reconcile, ghosts and rebuild of `headrace.recovery`.

Ages are left out: whatever may be old in the code may be old here at any moment, which is stronger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .values import DELAYED, IDLE, NEW_MARKER, NOWHERE, READY, TERMINAL, UNKNOWN, Cfg, Doc, Op, System, always

Reco = tuple[Any, ...]
Step = tuple[str, Op, Callable[[Any], Reco]]


def recovery_steps(s: System, i: int, cfg: Cfg) -> Iterator[Step]:
    """The steps that recovery `i` can take."""
    r = s.recos[i]
    if r != IDLE:
        yield from _PROGRAM[r[0]](s, r, cfg)
    elif cfg.repair:
        if cfg.sweep_all:
            yield from _orphans(s)
        yield from _drifts(s)
        if not s.db.epoch:
            yield "rebuild: begin", ("begin", NEW_MARKER), lambda m: IDLE if m == UNKNOWN else ("read", m, 0)


# -- orphans: MongoDB first, then Redis ------------------------------------------------------------------------------


def _orphans(s: System) -> Iterator[Step]:
    trusted = {w.inc for w in s.workers if w.pc != "gone" and not w.marked}
    for j, d in enumerate(s.db.docs):
        if d.st == "P" and d.owner not in trusted:
            yield f"orphan? {j}", ("look", (j,)), always(("orphan", j, d.att, d.owner, d.tok, False))


def _hand_back(s: System, r: Reco, cfg: Cfg) -> Iterator[Step]:
    _, j, att, owner, tok, cancelled = r

    def done(st: Any) -> Reco:
        if st is False:
            return IDLE if cancelled or not cfg.exits_cancel else ("orphan", j, att, owner, tok, True)
        return IDLE if st == UNKNOWN else ("push", j, st, tok)

    yield "orphan: update", ("orphan", j, att, owner, cancelled), done


def _push(s: System, r: Reco, cfg: Cfg) -> Iterator[Step]:
    _, j, st, tok = r
    op = ("remove", j) if st in TERMINAL else ("requeue", j, READY if s.db.docs[j].due else DELAYED, tok)
    yield "orphan: push", op, always(IDLE)


# -- drift -----------------------------------------------------------------------------------------------------------


def mending(d: Doc, at: int | str, j: int) -> Op | None:
    """The call that mends one id, or None where `judge` finds no drift."""
    if d.st == "Q":
        if at == NOWHERE:
            return ("enqueue", j, READY if d.due else DELAYED)
        if at == READY:
            return None if d.due else ("place_if", j, at, DELAYED)
        return None if at == DELAYED else ("place_if", j, at, DELAYED)  # the sweep
    if d.st == "P":
        return ("adopt", j, d.tok) if at == NOWHERE else None
    return None if at == NOWHERE else ("remove", j)


def _drifts(s: System) -> Iterator[Step]:
    for j, d in enumerate(s.db.docs):
        op = mending(d, s.db.locs[j], j)
        if op is None:
            continue
        # No document: looked at a second time, since a deposed primary may know nothing of a job.
        after: Reco = ("suspect", j) if d.st == "N" else ("mend", op)
        yield f"drift? {j}", ("look", (j,)), always(after)


def _suspect(s: System, r: Reco, cfg: Cfg) -> Iterator[Step]:
    j = r[1]
    gone = s.db.docs[j].st == "N"
    yield "ghost? again", ("look", (j,)), always(("mend", ("remove", j)) if gone else IDLE)


def _mend(s: System, r: Reco, cfg: Cfg) -> Iterator[Step]:
    yield f"mend: {r[1][0]}", r[1], always(IDLE)


# -- rebuild: adds only, twice, then the epoch if the marker still stands ---------------------------------------------


def _read(s: System, r: Reco, cfg: Cfg) -> Iterator[Step]:
    _, marker, nth = r
    adds: list[Op] = []
    for j, d in enumerate(s.db.docs):
        if d.st == "Q":
            adds.append(("enqueue", j, READY if d.due else DELAYED))
        elif d.st == "P":
            adds.append(("adopt", j, d.tok))
    first = "wipe" if cfg.rebuild_deletes and nth == 0 else "fill"
    yield "rebuild: read", ("look", ()), always((first, marker, nth, tuple(adds)))


def _wipe(s: System, r: Reco, cfg: Cfg) -> Iterator[Step]:
    yield "rebuild: wipe", ("wipe",), always(("fill", *r[1:]))


def _fill(s: System, r: Reco, cfg: Cfg) -> Iterator[Step]:
    _, marker, nth, adds = r
    if adds:
        yield "rebuild: add", adds[0], lambda u: IDLE if u == UNKNOWN else ("fill", marker, nth, adds[1:])
        return
    after: Reco = ("read", marker, 1) if nth == 0 else ("finish", marker)
    yield "rebuild: all added", ("look", ()), always(after)


def _finish(s: System, r: Reco, cfg: Cfg) -> Iterator[Step]:
    yield "rebuild: finish", ("finish", r[1]), always(IDLE)


_PROGRAM: dict[str, Callable[[System, Reco, Cfg], Iterator[Step]]] = {
    "orphan": _hand_back,
    "push": _push,
    "suspect": _suspect,
    "mend": _mend,
    "read": _read,
    "wipe": _wipe,
    "fill": _fill,
    "finish": _finish,
}
