"""What schedules are about. Mixing everything finds little of what needs three things in a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .network import Weather

CALM = Weather()
JUMPY = Weather(delay=0.02, split=0.3)
FORGETFUL = Weather(delay=0.005, unanswered=0.08, split=0.5)
ROUGH = Weather(delay=0.005, lost=0.04, unanswered=0.06, refused=0.03, late=0.05, split=0.3)
SLOW = Weather(delay=0.01, slow=0.04, slow_seconds=2.5, split=0.3)
SLOWEST = Weather(delay=0.02, slow=0.03, slow_seconds=12.0, unanswered=0.03, late=0.03, split=0.3)
LATE = Weather(delay=0.01, late=0.15, unanswered=0.05, split=0.5)
FAR_AWAY = Weather(delay=0.15, split=0.5)

QUICK = ("sleep:0.05",)
SAVED = ("sleep:0.4", "save", "sleep:0.4")
TOLD = ("progress", "sleep:1.2", "progress")
LONGER = ("sleep:2.5",)
LONG = ("sleep:4", "save", "sleep:4")
RETRIED = ("sleep:0.1", "fail:1")
FAILS = ("sleep:0.1", "fail:99")
PERMANENT = ("permanent",)
DIES_ONCE = ("save", "sleep:0.2", "die:1")
DIES = ("sleep:0.2", "die:99")
HANGS = ("hang",)

LOSSES = {"flush": 3, "restart empty": 2, "restart": 1, "restart old": 2, "redis down": 2}


@dataclass(frozen=True)
class Theme:
    """One kind of schedule; each value is thrown for among those given, or by their weights."""

    name: str
    weathers: tuple[Weather, ...]
    jobs: Mapping[tuple[str, ...], int]
    events: Mapping[str, int]
    job_counts: tuple[int, ...] = (1, 1, 2, 2, 3, 5)
    event_counts: tuple[int, ...] = (0, 1, 1, 2, 2, 3)
    bounds: tuple[int, ...] = (1, 2, 1000, 1000)
    cancels: float = 0.2
    freeze_seconds: tuple[float, float] = (0.5, 9.0)
    begins_complete: float = 0.8
    at_once: float = 0.6
    """How many of the jobs come at the beginning."""
    extras: float = 1.0
    """How likely delays and expiries are, compared with the usual."""
    slots: tuple[int, ...] = field(default=(1, 2, 2))


THEMES = (
    Theme(
        "mixed",
        weathers=(CALM, JUMPY, FORGETFUL, ROUGH, SLOW, SLOWEST),
        jobs={
            QUICK: 5,
            SAVED: 3,
            TOLD: 2,
            RETRIED: 2,
            FAILS: 1,
            PERMANENT: 1,
            LONGER: 2,
            DIES_ONCE: 2,
            DIES: 1,
            HANGS: 1,
        },
        events={
            "crash at call": 10,
            "declare dead": 2,
            "kill child": 2,
            "kill host": 2,
            "stop host": 2,
            "freeze child": 2,
            "freeze supervisor": 1,
            "freeze host": 2,
            "kill recovery": 1,
            "kill scheduler": 1,
            "mongo down": 2,
            **LOSSES,
        },
    ),
    Theme(
        "zombies",
        weathers=(CALM, JUMPY, SLOW, SLOWEST, FORGETFUL),
        jobs={("sleep:6",): 4, LONG: 1, LONGER: 2, SAVED: 1, TOLD: 1, QUICK: 2},
        events={
            "pause at call": 8,
            "freeze host": 5,
            "declare dead": 4,
            "freeze child": 1,
            "freeze supervisor": 1,
            "freeze recovery": 1,
        },
        job_counts=(1, 2, 2, 3),
        event_counts=(1, 2, 3),
        bounds=(1000,),
        cancels=0.1,
        freeze_seconds=(5.0, 14.0),
        at_once=1.0,
        extras=0.0,
    ),
    Theme(
        "late",
        weathers=(LATE, ROUGH, SLOWEST),
        jobs={QUICK: 4, SAVED: 2, RETRIED: 2, LONGER: 1, DIES_ONCE: 1},
        events={"crash at call": 4, "declare dead": 2, "kill child": 2, "stop host": 2, "mongo down": 1},
        event_counts=(0, 0, 1, 2),
    ),
    Theme(
        "cancels",
        weathers=(FAR_AWAY, FORGETFUL, ROUGH, JUMPY),
        jobs={QUICK: 3, SAVED: 3, RETRIED: 2, TOLD: 2, FAILS: 1, HANGS: 1, DIES_ONCE: 1},
        events={"crash at call": 4, "declare dead": 2, "kill scheduler": 2, "stop host": 2, "flush": 1},
        job_counts=(2, 3, 4),
        event_counts=(0, 1, 1, 2),
        cancels=0.9,
    ),
    Theme(
        "losses",
        weathers=(CALM, CALM, JUMPY, FAR_AWAY, FORGETFUL),
        jobs={QUICK: 4, SAVED: 2, RETRIED: 2, LONGER: 2},
        events=LOSSES,
        job_counts=(2, 3, 4, 6),
        event_counts=(1, 1, 2, 3),
        begins_complete=0.5,
        at_once=0.2,
    ),
    Theme(
        "crashes",
        weathers=(CALM, JUMPY, FORGETFUL, SLOW),
        jobs={QUICK: 3, SAVED: 3, RETRIED: 2, DIES_ONCE: 2, DIES: 1, LONGER: 1},
        events={"crash at call": 8, "kill recovery": 1, "kill host": 1, "stop host": 1},
        event_counts=(1, 2, 3, 4),
    ),
)
