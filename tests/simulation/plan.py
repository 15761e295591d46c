"""What a seed stands for: who runs, what clients want, what breaks and when."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from .clients import Submission
from .network import Weather
from .themes import THEMES, Theme

T = TypeVar("T")

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
    theme: str
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

    @property
    def is_calm(self) -> bool:
        """Whether nothing breaks but Redis, by losing its data: recovery's rebuild alone must be enough then."""
        weather = self.weather
        faults = weather.refused + weather.lost + weather.unanswered + weather.late + weather.slow
        return not faults and all(event.what in ("flush", "restart empty") for event in self.events)

    def lines(self) -> list[str]:
        """For people."""
        jobs = [f"{item.name}: {item.body['payload']['steps']} at {item.at:.2f} s" for item in self.submissions]
        return [f"seed {self.seed}, {self.theme}: {self.weather}", *jobs, *map(str, self.events)]


def seeds_of(theme: str, count: int) -> range:
    """The first seeds of a theme."""
    first = [item.name for item in THEMES].index(theme)
    return range(first, first + count * len(THEMES), len(THEMES))


def make_plan(seed: int) -> Plan:
    """The plan of a seed."""
    dice = random.Random(f"plan {seed}")
    theme = THEMES[seed % len(THEMES)]
    recoveries = dice.choice((1, 1, 2))
    return Plan(
        seed=seed,
        theme=theme.name,
        weather=replace(dice.choice(theme.weathers)),
        submissions=[_submission(dice, theme, number) for number in range(dice.choice(theme.job_counts))],
        events=[_event(dice, theme) for _ in range(dice.choice(theme.event_counts))],
        recoveries=recoveries,
        is_full_recovery=dice.random() < 0.1,
        is_leaderless=recoveries > 1 and dice.random() < 0.6,
        bound=dice.choice(theme.bounds),
        begins_complete=dice.random() < theme.begins_complete,
        redis_ahead_ms=dice.choice((0, 0, 30, -30, 200)),
        slots=dice.choice(theme.slots),
    )


def _thrown(dice: random.Random, weights: Mapping[T, int]) -> T:
    return dice.choices(list(weights), weights=list(weights.values()))[0]


def _submission(dice: random.Random, theme: Theme, number: int) -> Submission:
    body: dict[str, Any] = {
        "type": "sim",
        "payload": {"steps": list(_thrown(dice, theme.jobs))},
        "priority": dice.choice(("high", "medium", "low")),
        "max_retries": dice.choice((0, 1, 2)),
    }
    extra = dice.random() if dice.random() < theme.extras else 1.0
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
        at=0.0 if dice.random() < theme.at_once else round(dice.uniform(0, ACTIVE_SECONDS - 1), 3),
        cancel_at=round(dice.uniform(0, 1.8), 3) if dice.random() < theme.cancels else None,
    )


def _event(dice: random.Random, theme: Theme) -> Event:
    at = round(dice.uniform(0.0, ACTIVE_SECONDS), 3)
    back = round(dice.uniform(0.1, 3.0), 2)
    kind = _thrown(dice, theme.events)
    if kind == "crash at call":
        return Event("crash", call=dice.randint(1, 160), applied=dice.random() < 0.6, back=back)
    if kind == "pause at call":
        seconds = round(dice.uniform(*theme.freeze_seconds), 2)
        return Event("pause", call=dice.randint(1, 80), applied=dice.random() < 0.7, seconds=seconds)
    if kind.startswith("freeze"):
        return Event(kind, at=at, seconds=round(dice.uniform(*theme.freeze_seconds), 2))
    if kind.endswith("down"):
        return Event(kind, at=at, seconds=round(dice.uniform(0.3, 4.0), 2))
    return Event(kind, at=at, back=back)
