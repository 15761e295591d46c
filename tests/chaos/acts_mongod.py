"""Faults of MongoDB: elections, a majority that is away, errors, and writes that are applied and not answered."""

from __future__ import annotations

import asyncio
from typing import Any

from .history import PlannedFault
from .nemesis import DidNotFire, Ground, Hit, act

OURS = ("headrace-scheduler", "headrace-worker", "headrace-worker-supervisor", "recovery")


async def _primary(ground: Ground) -> int:
    return await asyncio.to_thread(ground.stack.replica_set.wait_for_primary, within=20)


async def _ask(ground: Ground, number: int, command: dict[str, Any]) -> dict[str, Any]:
    return await asyncio.to_thread(ground.stack.replica_set.ask, number, command)


@act("stepdown", "mongod:primary")
async def step_down(ground: Ground, fault: PlannedFault) -> Hit:
    """The primary gives up; another is elected."""
    number = await _primary(ground)
    await _ask(ground, number, {"replSetStepDown": 5, "force": True})
    if await asyncio.to_thread(ground.stack.replica_set.primary) == number:
        raise DidNotFire("it is still primary")
    return Hit(detail=f"mongod-{number}")


@act("kill", "mongod:primary")
async def kill_primary(ground: Ground, fault: PlannedFault) -> Hit:
    """The primary dies, and comes back later."""
    number = await _primary(ground)
    member = ground.stack.replica_set.members[number]
    pid = member.pid
    await asyncio.to_thread(member.kill)

    async def start() -> None:
        await asyncio.to_thread(member.start)

    return Hit((pid,), detail=f"mongod-{number}", heal=start)


@act("pause", "mongod:primary")
async def pause_primary(ground: Ground, fault: PlannedFault) -> Hit:
    """The primary freezes, and believes it still is when it wakes."""
    number = await _primary(ground)
    member = ground.stack.replica_set.members[number]
    member.pause()

    async def wake() -> None:
        member.resume()

    return Hit((member.pid,), detail=f"mongod-{number}", heal=wake)


@act("pause", "mongod:majority")
async def pause_majority(ground: Ground, fault: PlannedFault) -> Hit:
    """Both secondaries freeze: nothing can be made durable."""
    number = await _primary(ground)
    others = [each for at, each in enumerate(ground.stack.replica_set.members) if at != number]
    for member in others:
        member.pause()

    async def wake() -> None:
        for member in others:
            member.resume()

    return Hit(tuple(member.pid for member in others), heal=wake)


@act("kill", "mongod:majority")
async def kill_majority(ground: Ground, fault: PlannedFault) -> Hit:
    """Both secondaries die: what the primary writes now is its own, even when they come back."""
    number = await _primary(ground)
    others = [each for at, each in enumerate(ground.stack.replica_set.members) if at != number]
    pids = tuple(member.pid for member in others)
    await asyncio.gather(*(asyncio.to_thread(member.kill) for member in others))

    async def start() -> None:
        await asyncio.gather(*(asyncio.to_thread(member.start) for member in others))

    return Hit(pids, heal=start)


@act("lose", "mongod:secondary")
async def lose_secondary(ground: Ground, fault: PlannedFault) -> Hit:
    """One of three is gone for good; the run's end brings it back for the next run."""
    number = await _primary(ground)
    other = (number + 1) % 3
    member = ground.stack.replica_set.members[other]
    pid = member.pid
    await asyncio.to_thread(member.kill)
    return Hit((pid,), detail=f"mongod-{other}")


@act("command-error", "mongod:primary")
async def command_error(ground: Ground, fault: PlannedFault) -> Hit:
    """Some commands of one component are answered with an error of a server that steps down."""
    number = await _primary(ground)
    times = int(fault.details["times"])
    before = await _entered(ground, number, "failCommand")
    await _ask(
        ground,
        number,
        {
            "configureFailPoint": "failCommand",
            "mode": {"times": times},
            "data": {
                "failCommands": fault.details["commands"].split(","),
                "errorCode": int(fault.details["code"]),
                "appName": OURS[int(fault.details.get("number", "0"))],
            },
        },
    )
    return Hit(detail=f"mongod-{number}", heal=lambda: _off(ground, number, "failCommand", before))


@act("unanswered", "mongod:primary")
async def unanswered(ground: Ground, fault: PlannedFault) -> Hit:
    """Writes are applied, and the connection is closed instead of an answer."""
    number = await _primary(ground)
    before = await _entered(ground, number, "onPrimaryTransactionalWrite")
    await _ask(
        ground,
        number,
        {
            "configureFailPoint": "onPrimaryTransactionalWrite",
            "mode": {"times": int(fault.details["times"])},
            "data": {"closeConnection": True},
        },
    )
    return Hit(detail=f"mongod-{number}", heal=lambda: _off(ground, number, "onPrimaryTransactionalWrite", before))


async def _entered(ground: Ground, number: int, name: str) -> int:
    answer = await _ask(ground, number, {"configureFailPoint": name, "mode": "off"})
    return int(answer.get("count", 0))


async def _off(ground: Ground, number: int, name: str, before: int) -> str:
    """Disarm, when it was entered or a few seconds have passed."""
    for _ in range(30):
        answer = await _ask(ground, number, {"getParameter": 1, f"failpoint.{name}": 1})
        entered = int((answer.get(f"failpoint.{name}") or {}).get("timesEntered", before)) - before
        if entered > 0:
            break
        await asyncio.sleep(0.1)
    answer = await _ask(ground, number, {"configureFailPoint": name, "mode": "off"})
    entered = int(answer.get("count", before)) - before
    if entered <= 0:
        raise DidNotFire(f"{name} was not entered")
    return f"{entered} times"
