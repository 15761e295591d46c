"""What scheduler processes do: one submission and one cancel per job. Places are `bound`'s subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .values import READY, TERMINAL, UNKNOWN, Cfg, Op, System, always

Step = tuple[str, Op, Callable[[Any], str]]


def submit_steps(s: System, j: int, cfg: Cfg) -> Iterator[Step]:
    """`Committer`: insert, then enqueue; an insert without an answer is looked up."""
    pc = s.scheds[j]
    insert: Op = ("insert", j)
    enqueue: Op = ("enqueue", j, READY)
    first, second = (enqueue, insert) if cfg.push_before_insert else (insert, enqueue)
    if pc == "start":
        yield first[0], first, lambda r: "half" if r != UNKNOWN or first[0] == "enqueue" else "unsure"
    elif pc == "unsure":
        stored = s.db.docs[j].st != "N"
        yield "look the insert up", ("look_up", (j,)), lambda r: "half" if stored and r != UNKNOWN else "info"
    elif pc == "half":
        yield second[0], second, lambda r: "2xx" if r != UNKNOWN or second[0] == "enqueue" else "info"


def cancel_steps(s: System, j: int, cfg: Cfg) -> Iterator[Step]:
    """`handle_cancel`: one update, then Redis forgets the id, best effort. A client without an answer asks again."""
    pc = s.cans[j]
    if pc == "start" and s.db.docs[j].st != "N":

        def answered(reply: Any) -> str:
            if reply == UNKNOWN:
                return "start"
            if reply in TERMINAL:
                return "200" if reply == "X" else "409"
            return str(reply)

        yield "cancel", ("cancel", j), answered
    elif pc == "cancelled":
        yield "cancel: remove from Redis", ("remove", j), always("200")
