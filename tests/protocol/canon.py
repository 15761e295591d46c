"""Equal states look equal: forget what nobody can tell apart, and name things by order of appearance."""

from __future__ import annotations

from typing import Any

from .values import Cfg, Db, Doc, System, Worker


def renamed(s: System, workers: tuple[Worker, ...]) -> System:
    """`s` with its workers in the given order and its names in order of appearance."""
    names: dict[str, str] = {"": ""}

    def new(x: Any) -> Any:
        if x.__class__ is tuple:
            return tuple([new(y) for y in x]) if x else x
        if x.__class__ is str and x[:1] == "#":
            if x not in names:
                names[x] = f"{x[:2]}{len(names)}"
            return names[x]
        return x

    ws = tuple(
        [Worker(new(w.inc), w.pc, w.marked, new(w.tok), w.ids, w.held, w.out, w.direct, new(w.aud)) for w in workers]
    )
    d = s.db
    docs = tuple([_renamed_doc(x, new) if x.owner or x.tok or x.exits else x for x in d.docs])
    db = Db(docs, new(d.locs), new(d.ans), d.epoch, new(d.marker))
    late, recos = new(s.late), new(s.recos)
    if d.swept:
        db = db._replace(swept=tuple(sorted(names[x] for x in d.swept if x in names)))
    return System(db, ws, recos, s.scheds, s.cans, late, s.faults, s.rels)


def _renamed_doc(d: Doc, new: Any) -> Doc:
    return d._replace(owner=new(d.owner), tok=new(d.tok), exits=new(d.exits))


def tidy(s: System, cfg: Cfg) -> System:
    """The one state that stands for all that differ only in what nobody can tell apart."""
    workers, db = s.workers, s.db
    if db.ans:  # claim answers that nobody will ask for again
        asking = {w.tok for w in workers if w.pc == "popping"} | {op[1] for op in s.late if op[0] == "pop"}
        db = db._replace(ans=tuple(a for a in db.ans if a[0] in asking))
    if any(d.exits for d in db.docs):  # log entries that nobody will look for
        wanted = {(job, att, w.inc) for w in workers for job, att in w.held}
        db = db._replace(
            docs=tuple(
                d._replace(exits=tuple(e for e in d.exits if (j, e[0], e[1]) in wanted)) if d.exits else d
                for j, d in enumerate(db.docs)
            )
        )
    if any(w.aud for w in workers):
        workers = tuple(_without_stale_sight(w, db) if w.aud else w for w in workers)
    s = s._replace(db=db, workers=workers)
    if len(s.recos) == 2 and cfg.sweep_all and key(s.recos[1]) < key(s.recos[0]):
        s = s._replace(recos=(s.recos[1], s.recos[0]))
    if len(workers) == 2 and _rank(workers[1]) < _rank(workers[0]):
        return renamed(s, (workers[1], workers[0]))
    return renamed(s, workers)


def _without_stale_sight(w: Worker, db: Db) -> Worker:
    if w.aud[0] == "seen":
        d = db.docs[w.aud[1]]
        if (d.st, d.att, d.owner) != ("P", w.aud[2], w.inc):
            return w._replace(aud=())
    return w


def _rank(w: Worker) -> tuple[Any, ...]:
    return (w.pc, w.held, w.marked, w.out, str(w.ids), w.direct, w.aud[:2])


def plain(s: System) -> System:
    """For a trace: names in order, the workers as they are."""
    return renamed(s, s.workers)


def key(xs: tuple[Any, ...]) -> tuple[str, ...]:
    """A total order over tuples of mixed things."""
    return tuple(str(x) for x in xs)
