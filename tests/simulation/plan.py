"""What a seed stands for: who runs, what clients want, what breaks and when."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .clients import Submission
from .network import Weather

ACTIVE_SECONDS = 5.0


@dataclass(frozen=True)
class Event:
    """Something that happens to the system at a time, or to whoever makes the n-th call."""

    what: str
    at: float = 0.0
    call: int = 0
    applied: bool = False
    """For a call: after the server has done it, before the answer; else before it is sent."""
    seconds: float = 0.0
    back: float = 0.5
    """When whoever died is started again."""

    def __str__(self) -> str:
        where = f"call {self.call} {'applied' if self.applied else 'unsent'}" if self.call else f"{self.at:.2f} s"
        return f"{self.what} at {where}" + (f" for {self.seconds:.1f} s" if self.seconds else "")


@dataclass
class Plan:
    """One schedule."""

    seed: int
    weather: Weather
    submissions: list[Submission]
    events: list[Event]
    recoveries: int = 1
    is_full_recovery: bool = False
    """Recovery in the rhythm of its service; else every duty at once, now and then: the same work, fewer idle calls."""
    is_leaderless: bool = False
    """Every recovery takes itself for the leader."""
    bound: int = 1000
    begins_complete: bool = True
    redis_ahead_ms: int = 0
    slots: int = 2
    mutant: str = ""

    def lines(self) -> list[str]:
        """For people."""
        jobs = [f"{item.name}: {item.body['payload']['steps']} at {item.at:.2f} s" for item in self.submissions]
        return [f"seed {self.seed}: {self.weather}", *jobs, *map(str, self.events)]


WEATHERS = (
    Weather(),
    Weather(delay=0.02, split=0.3),
    Weather(delay=0.005, unanswered=0.08, split=0.5),
    Weather(delay=0.005, lost=0.04, unanswered=0.06, refused=0.03, late=0.05, split=0.3),
    Weather(delay=0.01, slow=0.04, slow_seconds=2.5, split=0.3),
    Weather(delay=0.02, slow=0.03, slow_seconds=12.0, unanswered=0.03, late=0.03, split=0.3),
)
STEPS: tuple[tuple[str, ...], ...] = (
    ("sleep:0.05",),
    ("sleep:0.4", "save", "sleep:0.4"),
    ("progress", "sleep:1.2", "progress"),
    ("sleep:0.1", "fail:1"),
    ("sleep:0.1", "fail:9"),
    ("permanent",),
    ("sleep:2.5",),
    ("save", "sleep:0.2", "die:1"),
    ("sleep:0.2", "die:9"),
    ("hang",),
)


def make_plan(seed: int) -> Plan:
    """The plan of a seed."""
    dice = random.Random(f"plan {seed}")
    weather = dice.choice(WEATHERS)
    return Plan(
        seed=seed,
        weather=Weather(**vars(weather)),
        submissions=[_submission(dice, number) for number in range(dice.choice((1, 1, 2, 2, 3, 5)))],
        events=_events(dice),
        recoveries=dice.choice((1, 1, 2)),
        is_full_recovery=dice.random() < 0.1,
        is_leaderless=dice.random() < 0.15,
        bound=dice.choice((1, 2, 1000, 1000)),
        begins_complete=dice.random() < 0.7,
        redis_ahead_ms=dice.choice((0, 0, 30, -30)),
        slots=dice.choice((1, 2, 2)),
    )


def _submission(dice: random.Random, number: int) -> Submission:
    body = {
        "type": "sim",
        "payload": {"steps": list(dice.choices(STEPS, weights=(5, 3, 2, 2, 1, 1, 2, 2, 1, 1))[0])},
        "priority": dice.choice(("high", "medium", "low")),
        "max_retries": dice.choice((0, 1, 2)),
    }
    extra = dice.random()
    if extra < 0.08:
        body["delay_seconds"] = 100_000  # still waiting in the end
    elif extra < 0.2:
        body["delay_seconds"] = round(dice.uniform(0.1, 3.0), 2)
    elif extra < 0.26:
        body["expires_in_seconds"] = round(dice.uniform(0.2, 2.0), 2)
    return Submission(
        name=f"job-{number}",
        body=body,
        key=f"key-{number}" if dice.random() < 0.8 else None,
        at=round(dice.choice((0.0, 0.0, dice.uniform(0, ACTIVE_SECONDS - 1))), 3),
        cancel_at=round(dice.uniform(0, 2.5), 3) if dice.random() < 0.25 else None,
    )


def _events(dice: random.Random) -> list[Event]:
    events = []
    for _ in range(dice.choice((0, 1, 1, 2, 2, 3))):
        at = round(dice.uniform(0.0, ACTIVE_SECONDS), 3)
        back = round(dice.uniform(0.1, 3.0), 2)
        kind = dice.choices(
            ("crash at call", "kill child", "kill host", "stop host", "freeze child", "freeze host", "kill recovery",
             "kill scheduler", "flush", "restart empty", "restart", "restart old", "redis down", "mongo down"),
            weights=(12, 2, 2, 2, 2, 2, 1, 1, 3, 2, 1, 2, 2, 2),
        )[0]  # fmt: skip
        if kind == "crash at call":
            events.append(Event("crash", call=dice.randint(1, 160), applied=dice.random() < 0.6, back=back))
        elif kind.startswith("freeze"):
            events.append(Event(kind, at=at, seconds=round(dice.uniform(0.5, 9.0), 2)))
        elif kind.endswith("down"):
            events.append(Event(kind, at=at, seconds=round(dice.uniform(0.3, 4.0), 2)))
        else:
            events.append(Event(kind, at=at, back=back))
    return events
