"""One door to both servers, and what is known about each call."""

from __future__ import annotations

from typing import Any

from . import index, truth
from .values import Cfg, Db, Op, ViolationError

CALLS = {**truth.CALLS, **index.CALLS}
QUIET = frozenset({"look", "read_own", "direct", "checkpoint"})
"""Reads whose failure the caller answers by asking again, and what changes nothing here: no faults of their own."""
NEVER_LATE = frozenset({"find", "places", "look_up"})
"""Reads: applied late they do nothing."""


def apply(db: Db, op: Op, cfg: Cfg, label: str) -> tuple[Db, Any]:
    """What the server does with one call: the servers after it, and the reply.

    Raises:
        ViolationError: It breaks a promise; `label` is kept on it.
    """
    try:
        return CALLS[op[0]](db, op, cfg)
    except ViolationError as bad:
        bad.label = label
        raise
