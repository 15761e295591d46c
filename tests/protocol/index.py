"""What Redis does with each call: the verbs of `headrace.runtime.queue`, one id being in at most one set.

Every function: (db, op, cfg) → (db after, reply).
"""

from __future__ import annotations

from typing import Any

from .values import DELAYED, INFLIGHT, NOWHERE, READY, Cfg, Db, Op, ViolationError, put

Reply = tuple[Db, Any]


def _move(db: Db, j: int, where: int | str) -> Db:
    return db._replace(locs=put(db.locs, j, where))


def _enqueue(db: Db, op: Op, cfg: Cfg) -> Reply:
    """NX over all sets."""
    _, j, where = op
    return (_move(db, j, where) if db.locs[j] == NOWHERE else db), True


def _pop(db: Db, op: Op, cfg: Cfg) -> Reply:
    """`claim`: the same token gets the same ids. `early`: this server's clock is ahead of MongoDB's."""
    _, tok, early = op
    for token, ids in db.ans:
        if token == tok:
            return db, ids
    due = [
        j for j, at in enumerate(db.locs) if at == READY or (at == DELAYED and (db.docs[j].due or early))
    ]  # NX keeps the order out of it: which of two ready ids goes first is another model's question
    taken = tuple(due[: cfg.batch])
    for j in taken:
        db = _move(db, j, tok)
    return (db._replace(ans=tuple(sorted((*db.ans, (tok, taken))))) if taken else db), taken


def _drop(db: Db, op: Op, cfg: Cfg) -> Reply:
    """Without the rule: whatever MongoDB refused leaves Redis."""
    for j in op[1]:
        db = _move(db, j, NOWHERE)
    return db, True


def _putback(db: Db, op: Op, cfg: Cfg) -> Reply:
    """Only what is still under this token; waiting ids to `delayed`, never straight to the head."""
    _, tok, seen = op
    for j, st, _ in seen:
        if db.locs[j] == tok:
            db = _move(db, j, {"Q": DELAYED, "P": INFLIGHT}.get(st, NOWHERE))
    return db, True


def _remove(db: Db, op: Op, cfg: Cfg) -> Reply:
    """`settle` and `remove`: out of every set. For jobs that are over or do not exist."""
    return _move(db, op[1], NOWHERE), True


def _requeue(db: Db, op: Op, cfg: Cfg) -> Reply:
    """Only if absent, or in flight under the token seen or under none."""
    _, j, where, tok = op
    if cfg.guard_redis and db.locs[j] not in (NOWHERE, INFLIGHT, tok):
        return db, False
    return _move(db, j, where), True


def _place_if(db: Db, op: Op, cfg: Cfg) -> Reply:
    """`sweep` and `relocate`: only what is where it was seen."""
    _, j, seen, where = op
    return (_move(db, j, where) if db.locs[j] == seen else db), True


def _adopt(db: Db, op: Op, cfg: Cfg) -> Reply:
    """A running job into flight under the token of its claim, if it is nowhere."""
    _, j, tok = op
    return (_move(db, j, tok or INFLIGHT) if db.locs[j] == NOWHERE else db), True


def _begin(db: Db, op: Op, cfg: Cfg) -> Reply:
    """`begin_rebuild`: rebuilds at once share the marker, which a loss takes away."""
    marker = db.marker or op[1]
    return db._replace(marker=marker), marker


def _finish(db: Db, op: Op, cfg: Cfg) -> Reply:
    """`finish_rebuild`: refused unless the marker still stands."""
    if not cfg.finish_unmarked and db.marker != op[1]:
        return db, False
    return db._replace(epoch=True, marker=""), True


def _wipe(db: Db, op: Op, cfg: Cfg) -> Reply:
    """A mutant: the rebuild starts by deleting."""
    if any(d.st == "Q" and at in (READY, DELAYED) for d, at in zip(db.docs, db.locs, strict=True)):
        raise ViolationError("I6/I11 the rebuild removed a waiting id")
    return db._replace(locs=(NOWHERE,) * len(db.locs)), True


CALLS = {
    "enqueue": _enqueue,
    "pop": _pop,
    "drop": _drop,
    "putback": _putback,
    "remove": _remove,
    "requeue": _requeue,
    "place_if": _place_if,
    "adopt": _adopt,
    "begin": _begin,
    "finish": _finish,
    "wipe": _wipe,
}
