"""Faults of MongoDB: elections, a majority that is away, errors, and writes that are applied and not answered."""

from __future__ import annotations

import asyncio
from typing import Any

from headrace.local.server import ServerStartError

from .history import PlannedFault
from .nemesis import DidNotFire, Ground, Hit, act
from .replica_set import Member

TRIES = 6
"""How often a failpoint that nobody entered is armed again, a few seconds each."""
OURS = ("headrace-scheduler", "headrace-worker", "headrace-worker-supervisor", "recovery")


async def _primary(ground: Ground) -> int:
    return await asyncio.to_thread(ground.stack.replica_set.wait_for_primary, within=20)


def _others(ground: Ground, number: int) -> list[Member]:
    """Those that run beside the primary; one may be lost for good."""
    found = [each for at, each in enumerate(ground.stack.replica_set.members) if at != number and each.running]
    if not found:
        raise DidNotFire("the primary is alone")
    return found


def _wake(member: Member) -> None:
    """Unless another fault has ended it meanwhile."""
    if member.running:
        member.resume()


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
        try:
            await asyncio.to_thread(member.start)
        except ServerStartError:
            if member not in ground.stack.lost_members:  # then it was lost for good while it started
                raise

    return Hit((pid,), detail=f"mongod-{number}", heal=start)


@act("pause", "mongod:primary")
async def pause_primary(ground: Ground, fault: PlannedFault) -> Hit:
    """The primary freezes, and believes it still is when it wakes."""
    number = await _primary(ground)
    member = ground.stack.replica_set.members[number]
    member.pause()

    async def wake() -> None:
        _wake(member)

    return Hit((member.pid,), detail=f"mongod-{number}", heal=wake)


@act("pause", "mongod:majority")
async def pause_majority(ground: Ground, fault: PlannedFault) -> Hit:
    """Both secondaries freeze: nothing can be made durable."""
    number = await _primary(ground)
    others = _others(ground, number)
    for member in others:
        member.pause()

    async def wake() -> None:
        for member in others:
            _wake(member)

    return Hit(tuple(member.pid for member in others), heal=wake)


@act("kill", "mongod:majority")
async def kill_majority(ground: Ground, fault: PlannedFault) -> Hit:
    """Both secondaries die: what the primary writes now is its own, even when they come back."""
    number = await _primary(ground)
    others = _others(ground, number)
    pids = tuple(member.pid for member in others)
    await asyncio.gather(*(asyncio.to_thread(member.kill) for member in others))

    async def start() -> None:
        await asyncio.gather(*(asyncio.to_thread(member.start) for member in others))

    return Hit(pids, heal=start)


@act("lose", "mongod:secondary")
async def lose_secondary(ground: Ground, fault: PlannedFault) -> Hit:
    """One of three is gone for good; the run's end brings it back for the next run."""
    number = await _primary(ground)
    member = _others(ground, number)[0]
    pid = member.pid
    ground.stack.lost_members.append(member)
    await asyncio.to_thread(member.kill)
    return Hit((pid,), detail=f"mongod-{ground.stack.replica_set.members.index(member)}")


@act("command-error", "mongod:primary")
async def command_error(ground: Ground, fault: PlannedFault) -> Hit:
    """Some commands of one component are answered with an error of a server that steps down."""
    data = {
        "failCommands": fault.details["commands"].split(","),
        "errorCode": int(fault.details["code"]),
        "appName": OURS[int(fault.details.get("number", "0"))],
    }
    return await _failpoint(ground, "failCommand", times=int(fault.details["times"]), data=data)


@act("unanswered", "mongod:primary")
async def unanswered(ground: Ground, fault: PlannedFault) -> Hit:
    """Writes are applied, and the connection is closed instead of an answer."""
    times = int(fault.details["times"])
    return await _failpoint(ground, "onPrimaryTransactionalWrite", times=times, data={"closeConnection": True})


async def _failpoint(ground: Ground, name: str, *, times: int, data: dict[str, Any]) -> Hit:
    """Arm it at the primary until it was entered; a primary that goes takes its failpoints with it."""
    lock = ground.stack.mongod_failpoints  # one at a time: a member has one failpoint of a name
    await lock.acquire()

    async def arm() -> tuple[int, int]:
        number = await _primary(ground)
        answer = await _ask(ground, number, {"configureFailPoint": name, "mode": "off"})
        await _ask(ground, number, {"configureFailPoint": name, "mode": {"times": times}, "data": data})
        return number, int(answer.get("count", 0))

    try:
        number, before = await arm()
    except BaseException:
        lock.release()
        raise

    async def disarm() -> str:
        try:
            entered = await _until_entered(ground, number, name, before)
            for _ in range(TRIES):
                if entered:
                    return f"{entered} times"
                entered = await _until_entered(ground, *_named(await arm(), name))
            if entered:
                return f"{entered} times"
            raise DidNotFire(f"{name} was not entered")
        finally:
            lock.release()

    return Hit(detail=f"mongod-{number}", heal=disarm)


def _named(armed: tuple[int, int], name: str) -> tuple[int, str, int]:
    return armed[0], name, armed[1]


async def _until_entered(ground: Ground, number: int, name: str, before: int) -> int:
    """Disarm, when it was entered or a few seconds have passed. Returns how often it was."""
    for _ in range(30):
        answer = await _ask(ground, number, {"getParameter": 1, f"failpoint.{name}": 1})
        if int((answer.get(f"failpoint.{name}") or {}).get("timesEntered", before)) > before:
            break
        await asyncio.sleep(0.1)
    answer = await _ask(ground, number, {"configureFailPoint": name, "mode": "off"})
    return max(0, int(answer.get("count", before)) - before)
