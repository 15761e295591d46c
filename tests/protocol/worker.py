"""The worker child, step by step: `claim_loop`, `settler` and `audit` of `headrace.worker`.

Each step is (label, call, continuation); the continuation maps the reply to the worker after the call. What the code
does beside the held jobs (judging refused ids) is done before them here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from .values import DELAYED, NEW_TOKEN, READY, TERMINAL, UNKNOWN, Cfg, Doc, Op, System, Worker, always

Step = tuple[str, Op, Callable[[Any], Worker]]
OPEN = ("popping", "popped", "claimed")
"""While a claim is here its token is among the open ones, and the audit leaves its jobs alone."""


def worker_steps(s: System, i: int, cfg: Cfg) -> Iterator[Step]:
    """The steps that worker `i` can take."""
    w = s.workers[i]
    if w.pc == "gone":
        return
    yield from _PROGRAM[w.pc](s, w, cfg)
    if cfg.audit:
        yield from _audit(s, w)


def _rest(w: Worker, held: tuple[tuple[int, int], ...]) -> Worker:
    """What follows when one held job is done with."""
    return w._replace(
        pc="hold" if held else "idle",
        tok=w.tok if held else "",
        ids=(),
        held=held,
        out="",
        direct=w.direct and held != (),
    )


# -- claim -----------------------------------------------------------------------------------------------------------


def _pop(s: System, w: Worker, cfg: Cfg) -> Iterator[Step]:
    db = s.db
    if w.pc == "idle" and not any(at in (READY, DELAYED) for at in db.locs):
        return
    tok = w.tok or NEW_TOKEN

    def popped(ids: Any) -> Worker:
        if ids == UNKNOWN:
            return w._replace(pc="popping", tok=tok)
        return w._replace(pc="popped", tok=tok, ids=ids) if ids else w._replace(pc="idle", tok="")

    yield "pop", ("pop", tok, False), popped
    if any(at == DELAYED and not db.docs[j].due for j, at in enumerate(db.locs)):
        yield "pop (Redis' clock is ahead)", ("pop", tok, True), popped
    if w.pc == "popping":  # Redis did not answer: straight from the truth, under the same token

        def offered(ids: Any) -> Worker:
            if not ids:
                return w._replace(pc="idle", tok="")
            return w._replace(pc="popped", ids=ids, direct=True)

        yield "ask MongoDB for ids", ("direct",), offered


def _claim(s: System, w: Worker, cfg: Cfg) -> Iterator[Step]:
    yield "claim", ("claim", w.inc, w.tok, w.ids), always(w._replace(pc="claimed"))


def _find(s: System, w: Worker, cfg: Cfg) -> Iterator[Step]:
    def found(reply: Any) -> Worker:
        if reply == UNKNOWN:
            return w
        refused = tuple(j for j in w.ids if j not in [job for job, _ in reply])
        if refused and not w.direct:
            return w._replace(pc="refused" if cfg.judge_refused else "dropping", ids=refused, held=reply)
        return _rest(w, reply)

    yield "find", ("find", w.inc, w.tok), found


def _judge_refused(s: System, w: Worker, cfg: Cfg) -> Iterator[Step]:
    # A read that fails leaves them in flight, for the sweep.
    yield "look", ("places", w.ids), lambda r: _rest(w, w.held) if r == UNKNOWN else w._replace(pc="putting", ids=r)


def _put_back(s: System, w: Worker, cfg: Cfg) -> Iterator[Step]:
    yield "put back", ("putback", w.tok, w.ids), always(_rest(w, w.held))


def _drop_ghosts(s: System, w: Worker, cfg: Cfg) -> Iterator[Step]:
    yield "drop ghosts", ("drop", w.ids), always(_rest(w, w.held))


# -- run and settle --------------------------------------------------------------------------------------------------


def _settled(w: Worker, reply: Any) -> Worker:
    """After MongoDB's answer; Redis comes second."""
    if reply == UNKNOWN:
        return w._replace(pc="settle")
    return w._replace(pc="judge") if reply is False else w._replace(pc="index", out=reply)


def _hold(s: System, w: Worker, cfg: Cfg) -> Iterator[Step]:
    j, att = w.held[0]
    d = s.db.docs[j]
    outs = [*"X" * d.creq, "C", "R" if d.fails < cfg.retries else "F", *"L" * (s.rels > 0)]
    for out in outs:
        label = "release" if out == "L" else f"settle {out}"
        yield label, ("settle", w.inc, j, att, out), partial(_settled, w._replace(out=out))
    yield "checkpoint", ("checkpoint", w.inc, j, att), always(w)
    if cfg.audit and (d.st, d.att, d.owner) != ("P", att, w.inc):
        yield "audit: lost", ("look", (j,)), always(_rest(w, w.held[1:]))


def _settle(s: System, w: Worker, cfg: Cfg) -> Iterator[Step]:
    j, att = w.held[0]
    yield f"settle {w.out} again", ("settle", w.inc, j, att, w.out), lambda r: _settled(w, r)


def _judge(s: System, w: Worker, cfg: Cfg) -> Iterator[Step]:
    """Matched nothing: our own earlier write, an accepted cancel, or fenced (B9)."""
    j, att = w.held[0]

    def judged(reply: Any) -> Worker:
        if reply == "holds":
            return w._replace(pc="yield")
        return _rest(w, w.held[1:]) if reply is None else w._replace(pc="index", out=reply)

    yield "judge", ("read_own", w.inc, j, att), judged


def _yield(s: System, w: Worker, cfg: Cfg) -> Iterator[Step]:
    j, att = w.held[0]

    def yielded(reply: Any) -> Worker:
        return w._replace(pc="index", out="X") if reply == "X" else w._replace(pc="settle")

    yield "settle as cancelled", ("settle_cancel", w.inc, j, att), yielded


def _index(s: System, w: Worker, cfg: Cfg) -> Iterator[Step]:
    """Once, best effort: what fails here is found by the sweep or by reconcile."""
    j, _ = w.held[0]
    yield "index", _index_call(s.db.docs[j], j, w.out, w.tok), always(_rest(w, w.held[1:]))


def _index_call(d: Doc, j: int, st: str, tok: str) -> Op:
    if st in TERMINAL:
        return ("remove", j)
    return ("requeue", j, READY if d.due else DELAYED, tok)


# -- the own-jobs audit, beside all of that --------------------------------------------------------------------------


def _audit(s: System, w: Worker) -> Iterator[Step]:
    if w.aud and w.aud[0] == "index":
        _, j, st, tok = w.aud
        yield "audit: index", _index_call(s.db.docs[j], j, st, tok), always(w._replace(aud=()))
        return
    for j, d in enumerate(s.db.docs):
        if d.st != "P" or d.owner != w.inc or (j, d.att) in w.held or (w.pc in OPEN and d.tok == w.tok):
            continue
        if w.aud == ("seen", j, d.att):

            def released(reply: Any, j: int = j, tok: str = d.tok) -> Worker:
                if reply == UNKNOWN:
                    return w
                return w._replace(aud=() if reply is False else ("index", j, reply, tok))

            form = ("settle_cancel", w.inc, j, d.att) if d.creq else ("settle", w.inc, j, d.att, "L")
            yield "audit: release", form, released
        else:
            yield "audit: unknown", ("look", (j,)), always(w._replace(aud=("seen", j, d.att)))


_PROGRAM: dict[str, Callable[[System, Worker, Cfg], Iterator[Step]]] = {
    "idle": _pop,
    "popping": _pop,
    "popped": _claim,
    "claimed": _find,
    "refused": _judge_refused,
    "putting": _put_back,
    "dropping": _drop_ghosts,
    "hold": _hold,
    "settle": _settle,
    "judge": _judge,
    "yield": _yield,
    "index": _index,
}
