"""The kinds of faults that seeds choose from, how often and how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Draw:
    """A kind of fault that seeds may choose."""

    kind: str
    targets: tuple[str, ...]
    lasts: tuple[float, float] = (0.0, 0.0)
    """Seconds, from and to; (0, 0): over at once."""
    weight: int = 2
    details: Callable[[random.Random], dict[str, str]] = lambda _: {}


SERVICES = ("scheduler-0", "scheduler-1", "worker-0", "worker-1", "recovery-0", "recovery-1")
LINKS = tuple(f"link:{role}>{store}" for role in ("scheduler", "worker", "recovery") for store in ("redis", "mongod"))
CLIENTS = "link:client>scheduler"


def _one_way(dice: random.Random) -> dict[str, str]:
    return {"direction": dice.choice(("up", "down", "both"))}


def _milliseconds(dice: random.Random) -> dict[str, str]:
    return {"ms": str(dice.choice((20, 80, 250)))} | _one_way(dice)


def _bytes(dice: random.Random) -> dict[str, str]:
    return {"bytes": str(dice.randint(0, 4000)), "direction": dice.choice(("up", "down"))}


def _command_error(dice: random.Random) -> dict[str, str]:
    return {
        "commands": dice.choice(("update", "find", "insert,update,findAndModify,find,aggregate")),
        "code": dice.choice(("91", "10107", "189")),
        "times": str(dice.randint(1, 5)),
    }


def _offset(dice: random.Random) -> dict[str, str]:
    return {"offset": dice.choice(("3600", "-3600"))}


DRAWS: tuple[Draw, ...] = (
    Draw("kill", ("scheduler", "worker", "recovery:leader", "monitor"), weight=4),
    Draw("kill", ("child",), weight=4),
    Draw("kill", ("supervisor",)),
    Draw("pause", ("scheduler", "worker", "recovery:leader", "child"), (0.5, 5.0), weight=4),
    Draw("stop", ("scheduler", "worker", "worker", "recovery:leader", "monitor"), weight=3),
    Draw("stop-kill", ("scheduler", "worker", "recovery"), (0.05, 0.8)),
    Draw("block", ("child",), (6.0, 6.0)),
    Draw("stop", ("worker:claiming",), weight=3),
    Draw("clock", ("worker", "worker", "recovery", "recovery:leader"), (2.0, 6.0), details=_offset, weight=4),
    Draw("hold-gil", ("child",), details=lambda dice: {"seconds": dice.choice(("1.5", "6.5"))}),
    Draw("pill", ("child",), details=lambda dice: {"how": dice.choice(("signal", "memory"))}),
    Draw(
        "burst", ("clients",), details=lambda dice: {"what": dice.choice(("many", "failing", "slow", "huge"))}, weight=3
    ),
    Draw("stall", ("redis",), (0.5, 2.5), weight=3),
    Draw("client-pause", ("redis",), (0.5, 2.5)),
    Draw("pause", ("redis",), (0.5, 4.0)),
    Draw("flush", ("redis",), weight=4),
    Draw("empty-restart", ("redis",), weight=3),
    Draw("old-copy", ("redis",), (1.0, 3.0), weight=3),
    Draw("script-flush", ("redis",)),
    Draw("drop-clients", ("redis",)),
    Draw("fill-up", ("redis",), (1.0, 3.0)),
    Draw("lie", ("redis",)),
    Draw("stepdown", ("mongod:primary",), weight=4),
    Draw("kill", ("mongod:primary",), (1.0, 3.0), weight=3),
    Draw("pause", ("mongod:primary",), (3.0, 6.0), weight=2),
    Draw("pause", ("mongod:majority",), (1.0, 3.0), weight=2),
    Draw("command-error", ("mongod:primary",), details=_command_error, weight=3),
    Draw("unanswered", ("mongod:primary",), details=lambda dice: {"times": str(dice.randint(1, 4))}, weight=3),
    Draw("latency", (*LINKS, CLIENTS), (1.0, 3.0), details=_milliseconds, weight=3),
    Draw("reset", (*LINKS, CLIENTS), weight=2),
    Draw("black-hole", LINKS, (1.0, 4.0), details=_one_way, weight=4),
    Draw("drop-replies", (*LINKS, CLIENTS), (0.5, 3.0), weight=4),
    Draw("cut", (*LINKS, CLIENTS), (1.0, 3.0), details=_bytes, weight=2),
)
