"""A day in the life of a system, made up for pictures: history of a day, and jobs of every kind."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from e2e_stack import Stack

from headrace.runtime.store.history import FINE_SECONDS, MIDDLE_SECONDS, History
from headrace.runtime.store.history_values import Levels, Sample, add_up, floor_to

TYPES = {"crawl": ("crawl", 40, 0.55), "test": ("test.sleep", 90, 0.3)}


def play(stack: Stack) -> dict[str, str]:
    """Fill the system; returns jobs worth a look, by what they show."""
    stack.run(_history(stack))
    named: dict[str, str] = {}
    for number in range(14):
        stack.submit(
            "test.sleep",
            {"seconds": 0.02 * number, "result": {"rows": 1200 + number, "checksum": 9007199254740993}},
            priority=("high", "medium", "low")[number % 3],
            tags={"team": "search"},
        )
    named["completed"] = stack.submit(
        "test.steps", {"steps": 4, "seconds": 0.1}, tags={"team": "search", "run": "nightly"}
    )
    for host in ("shop.example.org", "shop.example.org", "news.example.org"):
        stack.submit(
            "test.fail",
            {"until_attempt": 9, "how": "permanent", "message": f"{host} answered 503 to /catalogue/17"},
        )
    named["failed"] = stack.submit(
        "test.fail",
        {"until_attempt": 9, "message": "no route to 10.0.3.7"},
        max_retries=2,
        tags={"team": "billing"},
    )
    named["crashed"] = stack.submit("test.die", {"after_seconds": 0.3}, max_retries=1)
    for job_id in (named["completed"], named["failed"]):
        stack.until(lambda job_id=job_id: stack.job(job_id)["state"] in {"completed", "failed"})
    stack.until_state(named["crashed"], "failed")
    named["running"] = stack.submit(
        "test.steps", {"steps": 400, "seconds": 0.25}, priority="high", tags={"team": "search"}
    )
    for _ in range(2):
        stack.submit("test.steps", {"steps": 900, "seconds": 0.4})
    named["waiting"] = stack.submit(
        "test.sleep",
        {"seconds": 1, "result": {"account": "ops", "password": "hunter2", "pin": 1234}},
        delay_seconds=5400,
    )
    for number in range(9):
        stack.submit("test.sleep", {"seconds": 60}, delay_seconds=600 * (number + 1), priority="low")
    stack.until(lambda: (stack.job(named["running"])["progress"] or {}).get("fraction"))
    return named


async def _history(stack: Stack) -> None:
    dice = random.Random(7)
    history = History(stack.database)
    await history.ensure()
    now = floor_to(datetime.now(UTC), FINE_SECONDS)
    samples: list[Sample] = []
    backlog = dict.fromkeys(TYPES, 0.0)
    for step in range(24 * 360):
        at = now - timedelta(seconds=FINE_SECONDS * (24 * 360 - step))
        hour = at.hour + at.minute / 60
        for pool, (type_, rate, seconds) in TYPES.items():
            load = (
                0.45 + 0.4 * math.sin((hour - 7) / 24 * 2 * math.pi) + (0.9 if 340 * 23 < step < 340 * 23 + 60 else 0)
            )
            came = max(0, round(dice.gauss(rate * load, rate * 0.08)))
            done = min(round(rate * 0.92), round(backlog[pool] + came))
            backlog[pool] = max(0.0, backlog[pool] + came - done)
            failed = sum(dice.random() < 0.006 for _ in range(done))
            samples += _interval(at, pool, type_, came, done, failed, backlog[pool], seconds, dice)
    fine = [sample for sample in samples if sample.at >= now - timedelta(hours=3)]
    for first in range(0, len(fine), 1000):
        await history.write(fine[first : first + 1000])
    await history.write(add_up(samples, MIDDLE_SECONDS))


def _interval(
    at: datetime, pool: str, type_: str, came: int, done: int, failed: int, waiting: float, seconds: float, dice: Any
) -> list[Sample]:
    def spread(middle_seconds: float) -> dict[int, int]:
        found: dict[int, int] = {}
        for _ in range(done):
            bucket = max(0, round(4 * math.log2(max(1.0, middle_seconds * 1000 * dice.lognormvariate(0, 0.5)))))
            found[bucket] = found.get(bucket, 0) + 1
        return found

    busy = min(6.0, round(done * seconds / 10, 1))
    levels = Levels(
        high=round(waiting * 0.1), medium=round(waiting * 0.6), low=round(waiting * 0.3), in_flight=busy, busy=busy,
        slots=6, workers=1, oldest_seconds=waiting / 8,
    )  # fmt: skip
    counts = {"submitted": came, "claimed": done, "completed": done - failed, "failed": failed}
    return [
        Sample(at=at, seconds=FINE_SECONDS, pool=pool, levels=levels),
        Sample(
            at=at, seconds=FINE_SECONDS, pool=pool, type=type_, counts=counts,
            wait=spread(0.02 + waiting / 20), run=spread(seconds),
        ),
    ]  # fmt: skip
