from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .history import QueueEvent, Run
from .recorder import Clock, Recorder
from .redis_monitor import Reader

READY, INFLIGHT = "chaos:{test}:ready", "chaos:{test}:inflight"


class Told:
    """A reader and what it recorded."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._reader = recorder, Reader(recorder)

    def take(self, *commands: str) -> None:
        for command in commands:
            words = " ".join(f'"{word}"' for word in command.split())
            self._reader.take(f"+1700000000.000001 [0 lua] {words}")

    def events(self) -> list[tuple[str, str, float | None]]:
        found: list[QueueEvent] = self._recorder.of("queue")
        return [(event.kind, event.job_id, event.place) for event in found]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    recorder = Recorder(tmp_path / "history.jsonl", Clock())
    yield Told(recorder)
    recorder.close(Run())


def claim(token: str = "w1.1") -> str:
    return f"EVALSHA sha 3 {READY} {INFLIGHT} chaos:{{test}}:claim:{token}"


def test_what_is_popped_and_put_into_flight_was_claimed(told: Told) -> None:
    told.take(f"ZADD {READY} 5 a 6 b", claim(), f"ZPOPMIN {READY} 1", f"ZADD {INFLIGHT} 100 a", claim("w1.2"))
    assert told.events() == [("ready", "a", 5.0), ("ready", "b", 6.0), ("claimed", "a", 5.0)]


def test_what_is_popped_and_not_put_into_flight_is_nobodys(told: Told) -> None:
    told.take(f"ZADD {READY} 5 a", claim(), f"ZPOPMIN {READY} 1", claim("w1.2"))
    assert told.events()[-1] == ("left", "a", 5.0)


def test_ids_that_came_before_anybody_looked_are_taken_for_what_redis_says(told: Told) -> None:
    told.take(f"ZADD {READY} 5 a", claim(), f"ZPOPMIN {READY} 1", f"ZADD {INFLIGHT} 100 older", claim("w1.2"))
    assert told.events() == [("ready", "a", 5.0), ("claimed", "older", None)], "a was not popped: there was another"
    told.take(f"ZPOPMIN {READY} 1", f"ZADD {INFLIGHT} 100 a")
    assert told.events()[-1] == ("claimed", "a", 5.0)


def test_after_a_loss_nothing_is_known(told: Told) -> None:
    told.take(f"ZADD {READY} 5 a", "FLUSHALL", f"ZADD {READY} NX 5 a")
    assert told.events() == [("ready", "a", 5.0), ("lost", "", None), ("ready", "a", 5.0)]
