from __future__ import annotations

import asyncio

import structlog.testing

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.process.every import MAX_BACKOFF_SECONDS, _pause, every
from headrace.testing.eventually import eventually


class Duty:
    def __init__(self, *outcomes: BaseException | None) -> None:
        self.outcomes = list(outcomes)
        self.passes = 0

    async def __call__(self) -> None:
        self.passes += 1
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome


async def run_passes(duty: Duty, passes: int) -> list[dict]:
    stop = asyncio.Event()
    with structlog.testing.capture_logs() as logs:
        loop = asyncio.create_task(every(0.001, duty, name="sweep", stop=stop))
        await eventually(lambda: duty.passes >= passes)
        stop.set()
        await loop
    return logs


async def test_it_runs_at_once_and_again_and_says_nothing():
    assert await run_passes(Duty(), 3) == []


async def test_it_does_not_run_when_told_to_stop_before():
    stop, duty = asyncio.Event(), Duty()
    stop.set()
    await every(0.001, duty, name="sweep", stop=stop)
    assert duty.passes == 0


async def test_a_long_wait_ends_with_the_stop():
    stop, duty = asyncio.Event(), Duty()
    loop = asyncio.create_task(every(3600, duty, name="sweep", stop=stop))
    await eventually(lambda: duty.passes == 1)
    stop.set()
    await asyncio.wait_for(loop, timeout=5)


async def test_failures_are_told_once_per_kind_and_their_end_once():
    down, bug = StoreUnavailableError(), KeyError("x")
    logs = await run_passes(Duty(down, down, down, bug, bug), 7)
    assert [(entry["event"], entry.get("error")) for entry in logs] == [
        ("duty.failed", "StoreUnavailableError"),
        ("duty.failed", "KeyError"),
        ("duty.recovered", None),
    ]
    assert "exc_info" not in logs[0]
    assert logs[1]["exc_info"] is bug
    assert logs[2]["failures"] == 5


async def test_a_pass_under_way_is_finished():
    stop, finished = asyncio.Event(), []

    async def slow() -> None:
        stop.set()
        await asyncio.sleep(0.01)
        finished.append(True)

    await every(1, slow, name="slow", stop=stop)
    assert finished == [True]


def test_the_pause_goes_from_start_to_start_and_never_to_nothing():
    assert _pause(1.0, 0.25, 0, 0) == 0.75
    assert _pause(1.0, 7.0, 0, 0) == 0.1


def test_a_failing_duty_backs_off_within_a_bound():
    assert [_pause(0.25, 0, failures, 0) for failures in (1, 2, 3, 4, 50)] == [0.25, 0.5, 1, MAX_BACKOFF_SECONDS, 1]
    assert [_pause(5.0, 0, failures, 0) for failures in (1, 50)] == [5, 5], "its own pace"
    assert _pause(60.0, 0, 9, 0) == 60


def test_jitter_stays_within_its_share():
    pauses = [_pause(10.0, 0, 0, 0.2) for _ in range(200)]
    assert 8 <= min(pauses) < max(pauses) <= 12
