"""What MongoDB does with each call. Every function: (db, op, cfg) → (db after, reply).

The filters are those of `headrace.runtime.store.updates` and its callers. A step that breaks I2, I3, I4 or I9 raises.
"""

from __future__ import annotations

from typing import Any

from .values import TERMINAL, Cfg, Db, Doc, Op, ViolationError, put

Reply = tuple[Db, Any]


def _store(db: Db, j: int, doc: Doc) -> Db:
    return db._replace(docs=put(db.docs, j, doc))


def _left(doc: Doc, st: str, cfg: Cfg, *, by: str, **more: Any) -> Doc:
    """The document after a way out of `processing`, or after a cancel of a queued job (`updates.leave`)."""
    exits = (*doc.exits, (doc.att, by, st)) if doc.st == "P" else doc.exits
    if st in TERMINAL:
        return Doc(st=st, tok="" if cfg.find_owned else doc.tok, exits=exits)
    gone: dict[str, Any] = {"owner": "", "tok": ""} if cfg.find_owned else {}
    return doc._replace(st=st, exits=exits, **gone, **more)


def _insert(db: Db, op: Op, cfg: Cfg) -> Reply:
    j = op[1]
    return (_store(db, j, Doc(st="Q")) if db.docs[j].st == "N" else db), True


def _claim(db: Db, op: Op, cfg: Cfg) -> Reply:
    _, inc, tok, ids = op
    for j in ids:
        d = db.docs[j]
        if (cfg.claim_any_state and d.st != "N") or (d.st == "Q" and d.due and not d.creq):
            if d.st in TERMINAL:
                raise ViolationError("I2 claimed after a terminal state")
            if d.st == "P":
                raise ViolationError("I4 a second attempt was authorised while the first still is")
            db = _store(db, j, d._replace(st="P", att=d.att + 1, owner=inc, tok=tok))
    return db, True


def _find(db: Db, op: Op, cfg: Cfg) -> Reply:
    """The find by token, from which alone a worker starts jobs."""
    _, inc, tok = op
    owned = (lambda d: d.st == "P" and d.owner == inc) if cfg.find_owned else (lambda d: True)
    mine = [j for j, d in enumerate(db.docs) if d.tok == tok and owned(d)]
    for j in mine:
        if db.docs[j].st != "P" or db.docs[j].owner != inc:
            raise ViolationError(f"I4 the find by token hands a {db.docs[j].st} document to a worker that runs it")
    return db, tuple((j, db.docs[j].att) for j in mine)


def _places(db: Db, op: Op, cfg: Cfg) -> Reply:
    return db, tuple((j, db.docs[j].st, db.docs[j].due) for j in op[1])


def _direct(db: Db, op: Op, cfg: Cfg) -> Reply:
    """`PersistentJobQueue.claim`: the due queued ids, read from the documents."""
    return db, tuple([j for j, d in enumerate(db.docs) if d.st == "Q" and d.due][: cfg.batch])


def _settle(db: Db, op: Op, cfg: Cfg) -> Reply:
    """The fast form: one guarded filter, and nobody asked for a cancel."""
    _, inc, j, att, out = op
    d = db.docs[j]
    if d.st != "P" or (d.att != att and not cfg.settle_without_attempt):
        return db, False
    if cfg.exits_cancel and d.creq:
        return db, False
    if not cfg.settle_without_attempt and d.owner != inc:
        return db, False
    if d.att != att or d.owner != inc:
        raise ViolationError("I3 a stale attempt's transition was accepted")
    if d.creq and out in "CF":
        raise ViolationError(f"I9 cancel was accepted, the job ended {out}")
    if out == "R":
        after = _left(d, "Q", cfg, by=inc, due=False, fails=d.fails + 1)
    else:
        after = _left(d, "Q" if out == "L" else out, cfg, by=inc)
    return _store(db, j, after), after.st


def _settle_cancel(db: Db, op: Op, cfg: Cfg) -> Reply:
    """The slow form: the same filter, a cancel was asked for; the target is `cancelled`."""
    _, inc, j, att = op
    d = db.docs[j]
    if (d.st, d.att, d.owner, d.creq) != ("P", att, inc, True):
        return db, False
    return _store(db, j, _left(d, "X", cfg, by=inc)), "X"


def _read_own(db: Db, op: Op, cfg: Cfg) -> Reply:
    """What a settlement that matched nothing reads: still ours, or how this attempt ended by our own hand."""
    _, inc, j, att = op
    d = db.docs[j]
    if (d.st, d.att, d.owner) == ("P", att, inc):
        return db, "holds"
    return db, next((to for attempt, by, to in d.exits if (attempt, by) == (att, inc)), None)


def _checkpoint(db: Db, op: Op, cfg: Cfg) -> Reply:
    _, inc, j, att = op
    d = db.docs[j]
    matches = d.att == att and (not cfg.guard_full or (d.st == "P" and d.owner == inc and not d.creq))
    if matches and d.st != "P":
        raise ViolationError(f"I3 a checkpoint of a revoked attempt was accepted ({d.st})")
    return db, True


def _cancel(db: Db, op: Op, cfg: Cfg) -> Reply:
    """One update decides: queued ends now, processing gets the request."""
    j = op[1]
    d = db.docs[j]
    if cfg.cancel_any_state and d.st != "N":
        if d.st in TERMINAL:
            raise ViolationError("I2 a cancel overwrote a terminal state")
        if d.st == "P":
            raise ViolationError("I9 answered cancelled while an attempt is authorised")
    if d.st == "Q":
        return _store(db, j, _left(d, "X", cfg, by="K")), "cancelled"
    if d.st == "P":
        return _store(db, j, d._replace(creq=True)), "asked"
    return db, d.st


def _orphan(db: Db, op: Op, cfg: Cfg) -> Reply:
    """Recovery's hand-back: state, attempt and owner as read; first without, then with an accepted cancel."""
    _, j, att, owner, cancelled = op
    d = db.docs[j]
    if not cfg.orphan_by_id:
        if (d.st, d.att, d.owner) != ("P", att, owner) or (cfg.exits_cancel and d.creq != cancelled):
            return db, False
    elif d.st == "N":
        return db, False
    if d.st in TERMINAL:
        raise ViolationError("I2 recovery reopened a terminal job")
    if (d.st, d.att, d.owner) != ("P", att, owner):
        raise ViolationError("I3 recovery changed a job that it had read in another state")
    crashes = d.crashes + 1
    st = "X" if cancelled else "F" if crashes >= cfg.max_crashes else "Q"
    if d.creq and st == "F":
        raise ViolationError("I9 cancel was accepted, the job ended F")
    more = {"crashes": crashes} if st == "Q" else {}
    return _store(db, j, _left(d, st, cfg, by="R", **more)), st


CALLS = {
    "insert": _insert,
    "claim": _claim,
    "find": _find,
    "places": _places,
    "look": _places,
    "look_up": _places,
    "direct": _direct,
    "settle": _settle,
    "settle_cancel": _settle_cancel,
    "read_own": _read_own,
    "checkpoint": _checkpoint,
    "cancel": _cancel,
    "orphan": _orphan,
}
