"""What must hold in every state, and what must stay reachable from every state.

The promises that a single transition can break (I2, I3, I4, I9) are checked where it happens, in `truth` and `index`.
"""

from __future__ import annotations

from .recovery import mending
from .values import IDLE, NOWHERE, PENDING, TERMINAL, Cfg, System, ViolationError


def still(s: System) -> bool:
    """Nothing on the wire and nobody between two calls; a job may be running."""
    return (
        not s.late
        and all(w.pc in ("idle", "hold", "gone") and w.aud[:1] != ("index",) for w in s.workers)
        and all(r == IDLE for r in s.recos)
        and all(p not in ("half", "unsure") for p in s.scheds)
        and all(c != "cancelled" for c in s.cans)
    )


def check_state(s: System, cfg: Cfg) -> None:
    """Check one state.

    Raises:
        ViolationError: A promise is broken.
    """
    for d, answer, submission in zip(s.db.docs, s.cans, s.scheds, strict=True):
        if answer in ("cancelled", "200") and d.st != "X":
            raise ViolationError("I9 answered cancelled, and the job moved on")
        if answer == "asked" and d.st in "CF":
            raise ViolationError(f"I9 the cancel was accepted, the job ended {d.st}")
        if submission == "2xx" and d.st == "N":
            raise ViolationError("I1 answered 2xx without a document")
    if cfg.repair and still(s):  # I6: one pass of reconcile in the quiet makes both sides equal
        for j, (d, at) in enumerate(zip(s.db.docs, s.db.locs, strict=True)):
            op = mending(d, at, j)
            is_there = at != NOWHERE if op is None else op[0] != "remove"
            if is_there != (d.st in PENDING):
                raise ViolationError("I6 Redis and MongoDB differ after reconcile")


def check_complete(s: System, label: str, cfg: Cfg) -> None:
    """A pool that was just declared complete counts every stored job, but for those whose own push is under way.

    Only where nothing but Redis fails: a push that was lost for another reason is drift, not a wrong epoch.
    """
    if cfg.deaths or cfg.lost or cfg.late or cfg.wild:
        return
    for j, d in enumerate(s.db.docs):
        busy = s.scheds[j] in ("half", "unsure") or any(
            (w.held and w.held[0][0] == j) or w.aud[1:2] == (j,) for w in s.workers
        )
        pushing = any(r[0] in ("push", "mend") for r in s.recos)
        if d.st in PENDING and s.db.locs[j] == NOWHERE and not busy and not pushing:
            bad = ViolationError("I7/I8 the pool is declared complete without a stored job")
            bad.label = label
            raise bad


def finished(s: System) -> bool:
    """I1: every job is over."""
    return all(d.st in TERMINAL or d.st == "N" for d in s.db.docs)


def clean(s: System) -> bool:
    """I6: every job is over, Redis knows none and is complete, nobody holds any."""
    return (
        finished(s)
        and still(s)
        and s.db.epoch
        and all(at == NOWHERE for at in s.db.locs)
        and all(not w.held for w in s.workers)
    )


GOALS = (
    ("I1 stuck: no terminal state can be reached any more", finished),
    ("I6 stuck: Redis and processes can never be clean again", clean),
)
