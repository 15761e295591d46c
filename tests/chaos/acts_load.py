"""Faults that jobs bring: too many at once, jobs that kill who runs them, a job that lets nothing else turn."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pymongo.errors import PyMongoError

from .acts_processes import blame
from .calls import Submission
from .history import Operation, PlannedFault
from .nemesis import DidNotFire, Ground, Hit, act

PATIENCE_S = 60.0
"""For a job to be accepted and started, whatever else is on."""
ENDS_S = 60.0
LOOK_S = 0.1
HUGE = 100_000
"""Characters of a result that are sent with the job and come back with it."""

Payload = Mapping[str, Any]
CROWDS: dict[str, tuple[int, str, Payload]] = {
    "many": (200, "test.sleep", {"seconds": 0.01}),
    "failing": (60, "test.fail", {"until_attempt": 1, "how": "error"}),
    "slow": (16, "test.sleep", {"seconds": 2.0}),
    "huge": (24, "test.sleep", {"seconds": 0.01, "result": "h" * HUGE}),
}
"""What comes at once: how many jobs, their type and payload. `many` is more than the bound of the pool."""


def _job(ground: Ground, fault: PlannedFault, number: int, kind: str, payload: Payload) -> Submission:
    tag = f"{fault.id}-{number}"
    body = {
        "type": kind,
        "payload": {"effects": str(ground.sinks.effects), **payload},
        "priority": "medium" if fault.kind == "burst" else "high",
        "tags": {"tag": tag},
    }
    return Submission(body, f"k-{tag}", tag)


@act("burst", "clients")
async def burst(ground: Ground, fault: PlannedFault) -> Hit:
    """A crowd of jobs in one moment."""
    count, kind, payload = CROWDS[fault.details["what"]]
    jobs = [_job(ground, fault, number, kind, payload) for number in range(count)]
    answers = await asyncio.gather(*(_submit(ground, job) for job in jobs))
    if not any(answer.status for answer in answers):
        raise DidNotFire(f"nobody answered one of {count} submissions")
    accepted = sum(answer.outcome == "ok" for answer in answers)
    return Hit(detail=f"{count} at once, {accepted} accepted")


async def _submit(ground: Ground, job: Submission, *, turn: int = 0) -> Operation:
    urls = ground.urls
    return await ground.calls.submit(urls[(zlib.crc32(job.tag.encode()) + turn) % len(urls)], f"{job.tag}/{turn}", job)


@act("pill", "child")
async def pill(ground: Ground, fault: PlannedFault) -> Hit:
    """A job that kills whoever runs it, each time: by a signal, or by outgrowing the pool's limit of memory."""
    job_id = await _accepted(ground, fault, "test.die", {"how": fault.details["how"]})
    pid, at = await _start_of(ground, job_id)

    async def end() -> str:
        state, reason = await _end_of(ground, job_id, meanwhile=lambda: _blame_starters(ground, fault, job_id))
        starts = _lines(ground, job_id, "start")
        if fault.details["how"] == "memory" and not _was_ended_for_memory(ground):
            raise DidNotFire("no supervisor ended a child for its memory")
        return f"{len(starts)} starts, {state} ({reason})"

    return Hit((pid,), ground.stack.incarnations([pid]), ground.stack.part_of(pid), heal=end, at=at)


def _blame_starters(ground: Ground, fault: PlannedFault, job_id: str) -> None:
    blame(ground, fault, [pid for pid, _ in _lines(ground, job_id, "start")])


def _was_ended_for_memory(ground: Ground) -> bool:
    logs = [ground.stack.folder / "logs" / f"{part.name}.log" for part in ground.stack.of_role("worker")]
    return any('"child.memory_limit"' in log.read_text(errors="replace") for log in logs if log.exists())


@act("hold-gil", "child")
async def hold_gil(ground: Ground, fault: PlannedFault) -> Hit:
    """A job inside C keeps Python's lock: the process lives, and none of its threads turns."""
    job_id = await _accepted(
        ground, fault, "test.block", {"seconds": float(fault.details["seconds"]), "hold_gil": True}
    )
    pid, at = await _start_of(ground, job_id)

    async def end() -> str:
        state, reason = await _end_of(ground, job_id)
        return f"{state} ({reason})"

    return Hit((pid,), ground.stack.incarnations([pid]), ground.stack.part_of(pid), heal=end, at=at)


# -- one job, followed -----------------------------------------------------------------------------------------------


async def _accepted(ground: Ground, fault: PlannedFault, kind: str, payload: Payload) -> str:
    job, deadline, turn = _job(ground, fault, 0, kind, payload), ground.stack.clock.now() + PATIENCE_S, 0
    while ground.stack.clock.now() < deadline:
        answer = await _submit(ground, job, turn=turn)
        if answer.outcome == "ok" and answer.job_id is not None:
            return answer.job_id
        turn += 1
        await asyncio.sleep(0.25)
    raise DidNotFire(f"its job was not accepted within {PATIENCE_S:g} s")


def _lines(ground: Ground, job_id: str, phase: str) -> list[tuple[int, float]]:
    """Who noted a phase of a job, and when on the run's clock."""
    if not ground.sinks.effects.exists():
        return []
    lines = [json.loads(line) for line in ground.sinks.effects.read_text(encoding="utf-8").splitlines()]
    return [
        (line[2], ground.stack.clock.of_monotonic(line[4])) for line in lines if line[0] == job_id and line[3] == phase
    ]


async def _start_of(ground: Ground, job_id: str) -> tuple[int, float]:
    deadline = ground.stack.clock.now() + PATIENCE_S
    while ground.stack.clock.now() < deadline:
        if found := _lines(ground, job_id, "start"):
            return found[0]
        await asyncio.sleep(LOOK_S)
    raise DidNotFire(f"nobody started its job within {PATIENCE_S:g} s")


async def _end_of(ground: Ground, job_id: str, *, meanwhile: Callable[[], object] = lambda: None) -> tuple[str, str]:
    """How a job ended: state and reason. Whether it should have ended otherwise is for the checkers to say."""
    deadline = ground.stack.clock.now() + ENDS_S
    while ground.stack.clock.now() < deadline:
        meanwhile()
        document = await _read(ground.watchers.database.jobs.find_one({"_id": job_id}))
        if document is not None and document["state"] not in {"queued", "processing"}:
            meanwhile()
            return document["state"], document["log"][-1]["reason"]
        await asyncio.sleep(LOOK_S)
    return "open", "nothing"


async def _read(reading: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(3):
            return await reading
    except (PyMongoError, TimeoutError, OSError):
        return None  # MongoDB is away; the next look
