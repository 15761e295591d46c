"""The cheapest runs that must show a broken rule. Unbroken, each passes every checker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import scripts
from .history import PlannedFault
from .plan import Load, Plan
from .run import Script

SMALL = {"scheduler": 1, "worker": 1, "recovery": 1}


@dataclass(frozen=True)
class Scenario:
    """A script, the faults beside it, and the system they meet."""

    name: str
    script: Script
    faults: tuple[PlannedFault, ...] = ()
    parts: Mapping[str, int] = field(default_factory=lambda: SMALL)
    bound: int = 150
    settings: Mapping[str, str] = field(default_factory=dict)
    promises: Mapping[str, float] = field(default_factory=dict)
    quiet_s: float = 15.0
    """A system that keeps its promises is at rest long before; a mutant need not come to rest."""

    def plan(self) -> Plan:
        """As the engine wants it."""
        return Plan(0, self.name, 0.0, self.faults, parts=dict(self.parts), load=Load(bound=self.bound))


def fault(
    kind: str, target: str, *, at: float, until: float | None = None, number: int = 0, **details: str
) -> PlannedFault:
    """A fault at a moment; its id is what it is."""
    return PlannedFault(f"{kind}-{target}-{number}", at, kind, target, until, {"number": str(number), **details})


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("calm", scripts.calm, quiet_s=8),
        Scenario("cancels", scripts.cancels),
        Scenario(
            "burst",
            scripts.burst,
            # The farther Redis is, the longer may what was looked at be untrue.
            tuple(fault("latency", "link:scheduler>redis", at=0.0, until=3.0, number=n, ms="60") for n in range(2)),
            parts={**SMALL, "scheduler": 2},
            bound=20,
        ),
        Scenario("ahead", scripts.ahead, settings={"JOB_CLAIM_HORIZON_MS": "0"}, promises={"horizon": 0.0}),
        Scenario("pill", scripts.pill, quiet_s=25),
        Scenario("before-insert", scripts.before_the_insert),
        Scenario("worker-killed", scripts.in_flight, (fault("kill", "worker", at=1.0),), quiet_s=10),
        Scenario(
            "leader-killed",
            scripts.in_flight,
            (fault("kill", "recovery:leader", at=1.0),),
            parts={**SMALL, "recovery": 2},
            quiet_s=12,
        ),
        Scenario(
            "zombie",
            scripts.long_runs,
            (
                fault("pause", "worker", at=1.0, until=7.5),
                # What it writes when it wakes is there before it hears that it was declared dead.
                fault("latency", "link:worker>mongod", at=6.8, until=9.0, ms="400", direction="down"),
            ),
            parts={**SMALL, "worker": 2},
        ),
        Scenario(
            "held-back",
            scripts.held_back,
            (fault("pause", "worker", at=1.0, until=6.5),),
        ),
        Scenario(
            "lost-answers",
            scripts.lost_answers,
            (fault("drop-replies", "link:worker>redis", at=2.0, until=4.0),),
            quiet_s=20,
        ),
        Scenario("flush", scripts.old_backlog, (fault("flush", "redis", at=1.5),)),
        Scenario(
            "deaf",
            scripts.deaf,
            (fault("black-hole", "link:worker>redis", at=0.5, until=6.0),),
        ),
        Scenario(
            "rollback",
            scripts.steady,
            (
                # Killed, not frozen: what was on its way to a frozen one is taken when it wakes. The primary stays away
                # until the others have elected one of themselves, or it would be elected again for what it has.
                fault("kill", "mongod:majority", at=1.0, until=3.2),
                fault("kill", "mongod:primary", at=2.3, until=9.5),
            ),
        ),
        Scenario("no-majority", scripts.nothing, (fault("pause", "mongod:majority", at=1.0, until=8.5),)),
    )
}
