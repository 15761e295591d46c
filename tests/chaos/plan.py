"""What a run will do: made from a seed alone, printed, kept as a file, and run again from it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .draws import DRAWS, SERVICES
from .failpoint_table import ACTIONS, PLACES
from .history import PlannedFault

CALM_S = 1.0
"""Before the first fault and after the last: what is measured needs something to be compared with."""

AT_ONCE_S = 2.0
"""What a fault that is over at once counts as, where two are to overlap: what it hit starts again meanwhile."""


@dataclass(frozen=True)
class Load:
    """What clients do."""

    rate: float = 20.0
    """Submissions a second, of all clients together."""
    clients: int = 6
    bound: int = 150
    """Of the pool."""


@dataclass(frozen=True)
class Plan:
    """One run. The same plan gives the same requests and the same faults at the same times.

    Not the same interleaving inside the processes: those are real. What must happen between two writes has a failpoint.
    """

    seed: int
    mode: str
    seconds: float
    faults: tuple[PlannedFault, ...]
    parts: dict[str, int] = field(default_factory=lambda: {"scheduler": 2, "worker": 2, "recovery": 2, "monitor": 1})
    load: Load = Load()
    in_turn: bool = False
    """Whether a fault begins when the one before it (of its lane) is over, instead of at its time."""

    def to_json(self) -> str:
        """As text, the same for the same plan."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Plan:
        """Read back.

        Raises:
            ValueError: It is no plan.
        """
        try:
            values = json.loads(text)
            faults = tuple(PlannedFault(**fault) for fault in values.pop("faults"))
            return Plan(faults=faults, load=Load(**values.pop("load")), **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no plan: {error}") from None

    def save(self, path: Path) -> None:
        """Write it as a file."""
        path.write_text(self.to_json() + "\n", encoding="utf-8")


def make_plan(seed: int, *, seconds: float, mode: str = "safety") -> Plan:
    """The plan of a seed.

    Seeds differ in shape: one fault at a time, two that overlap, or everything of a kind stopped in one order and
    started in another.

    Args:
        seed: Any number.
        seconds: How long clients go on.
        mode: `safety`: everything heals. `liveness`: besides, one of each kind goes away for good half-way.
    """
    dice = random.Random(seed)
    shape = ("single", "single", "overlap", "swizzle")[seed % 4]
    faults: list[PlannedFault] = []
    at = CALM_S + dice.uniform(0, 1)
    if shape == "swizzle":
        faults += _swizzle(dice, at)
        at = max(fault.until or fault.at for fault in faults) + 1
    on: list[float] = []
    while at < seconds - CALM_S:
        fault = _draw(dice, at)
        faults.append(fault)
        over = fault.at if fault.until is None else fault.until
        if shape == "overlap":  # two at a time, not more
            on = sorted([*on, max(over, fault.at + AT_ONCE_S)])[-2:]
            at = max(at + dice.uniform(0.4, 1.2), on[0] if len(on) == 2 else 0.0)
        else:
            at = over + dice.uniform(0.8, 2.0)
    if mode == "liveness":
        faults += _for_good(dice, seconds / 2)
    faults.sort(key=lambda fault: fault.at)
    return Plan(seed, mode, seconds, tuple(replace(fault, id=f"f{n}") for n, fault in enumerate(faults)))


def failpoint_plan(names: Sequence[str] = (), actions: Sequence[str] = ACTIONS) -> Plan:
    """Every failpoint with every action (or some of both), one after the other for each role, on one running system.

    Each ends with its service ready again, so what happens is a sequence of single faults of each role; the roles go on
    beside each other.
    """
    places = [place for place in PLACES if place.tested_by is None and (not names or place.name in names)]
    faults = [
        fault_of(f"failpoint:{place.name}:{place.action(word)}", place.target, 0.0, lane=place.role)
        for word in actions
        for place in places
    ]
    numbered = tuple(replace(fault, id=f"p{number}") for number, fault in enumerate(faults))
    return Plan(0, "failpoints", 0.0, numbered, load=Load(rate=12), in_turn=True)


def hardship_plan() -> Plan:
    """What seeds draw and eight of them do not all have: crowds, wrong clocks, poison jobs; one after the other."""
    faults = [fault_of("burst", "clients", 0.0, what=what) for what in ("many", "failing", "slow", "huge")]
    faults += [
        fault_of("clock", target, 0.0, number="0", offset=offset)
        for offset in ("3600", "-3600")
        for target in ("worker", "recovery:leader")
    ]
    faults += [fault_of("stop", "worker:claiming", 0.0) for _ in range(3)]
    faults += [fault_of("hold-gil", "child", 0.0, seconds=seconds) for seconds in ("1.5", "6.5")]
    faults += [fault_of("pill", "child", 0.0, how=how) for how in ("signal", "memory")]
    numbered = tuple(replace(fault, id=f"h{number}") for number, fault in enumerate(faults))
    return Plan(0, "hardships", 0.0, numbered, load=Load(rate=12), in_turn=True)


def fault_of(kind: str, target: str, at: float, *, lasts: float = 0.0, **details: str) -> PlannedFault:
    """A fault without an id."""
    at = round(at, 3)
    return PlannedFault("", at, kind, target, round(at + lasts, 3) if lasts else None, details)


def _draw(dice: random.Random, at: float) -> PlannedFault:
    draw = dice.choices(DRAWS, [draw.weight for draw in DRAWS])[0]
    lasts = dice.uniform(*draw.lasts) if draw.lasts[1] else 0.0
    details = draw.details(dice)
    return fault_of(draw.kind, dice.choice(draw.targets), at, lasts=lasts, number=str(dice.randrange(2)), **details)


def _swizzle(dice: random.Random, at: float) -> list[PlannedFault]:
    """Pause several services one after the other, and wake them in another order."""
    names: Sequence[str] = dice.sample(SERVICES, 4)
    wakes = [at + 2.0 + 0.5 * n for n in range(len(names))]
    dice.shuffle(wakes)
    return [
        fault_of("pause", name[:-2], at + 0.4 * n, lasts=wake - at - 0.4 * n, number=name[-1])
        for n, (name, wake) in enumerate(zip(names, wakes, strict=True))
    ]


def _for_good(dice: random.Random, at: float) -> list[PlannedFault]:
    """One of each kind dies and stays dead."""
    return [
        fault_of("lose", "scheduler", at, number=str(dice.randrange(2))),
        fault_of("lose", "worker", at + 0.2, number=str(dice.randrange(2))),
        fault_of("lose", "recovery:leader", at + 0.4),
        fault_of("lose", "mongod:secondary", at + 0.6),
    ]


def described(plan: Plan) -> list[str]:
    """The faults as lines for people."""
    lines: list[str] = []
    for fault in plan.faults:
        lasts = f" for {fault.until - fault.at:.1f} s" if fault.until is not None else ""
        details: Any = " ".join(f"{name}={value}" for name, value in fault.details.items())
        lines.append(f"{fault.at:6.1f} s  {fault.kind} {fault.target}{lasts} {details}".rstrip())
    return lines
