"""Faults of our own processes: killed, paused, stopped, lost for good, or alive without progress."""

from __future__ import annotations

import asyncio
import signal

from .history import PlannedFault
from .nemesis import DidNotFire, Ground, Hit, act
from .parts import Part

SERVICES = ("scheduler", "worker", "recovery", "recovery:leader", "monitor")
ROLES = {"child": "worker", "supervisor": "worker", "worker:claiming": "worker"}
PATIENCE_S = 30.0
"""For what is to be hit to be there: another fault may have it."""
LOOK_S = 0.1
CLAIMED = "worker.after_claim"
SLOW_CLAIM_MS = 400
"""How late a claim is answered that a stop comes into; the time to hand it back includes it."""


async def choose(ground: Ground, fault: PlannedFault) -> Part:
    """The service that a fault means: of those of its role that run, the one of its number."""
    if fault.target == "recovery:leader":
        return await _leader(ground)
    role = ROLES.get(fault.target, fault.target)
    wanted = f"{role}-{fault.details.get('number', '0')}"
    for _ in range(int(PATIENCE_S / LOOK_S)):
        parts = [part for part in ground.stack.of_role(role) if part.runs]
        if parts:
            return next((part for part in parts if part.name == wanted), parts[0])
        await asyncio.sleep(LOOK_S)
    raise DidNotFire(f"no {role} runs")


async def _leader(ground: Ground) -> Part:
    """The recovery that says it leads; holders are random names, so each is asked."""
    for _ in range(int(PATIENCE_S / LOOK_S)):
        for part in ground.stack.of_role("recovery"):
            if part.runs and (await ground.stack.metrics(part)).get(("job_recovery_leader", ())) == 1.0:
                return part
        await asyncio.sleep(LOOK_S)
    raise DidNotFire("no recovery leads")


def group(ground: Ground, part: Part) -> list[int]:
    """The process of a service, and its children."""
    return [part.pid, *(child.pid for child in ground.stack.living_children(part.name))]


def blame(ground: Ground, fault: PlannedFault, pids: list[int]) -> None:
    """Note whose deed the end of these processes will be."""
    for pid in pids:
        ground.stack.blamed[pid] = fault.id


def send(ground: Ground, pids: list[int], number: signal.Signals) -> None:
    """To all of them."""
    for pid in pids:
        ground.stack.signal(pid, number)


@act("kill", *SERVICES)
async def kill(ground: Ground, fault: PlannedFault) -> Hit:
    """The whole service at once, children included: its host is gone."""
    part = await choose(ground, fault)
    pids = group(ground, part)
    blame(ground, fault, pids)
    send(ground, pids, signal.SIGKILL)
    return Hit(tuple(pids), ground.stack.incarnations(pids), part.name, watch_return=part.name)


@act("kill", "child")
async def kill_child(ground: Ground, fault: PlannedFault) -> Hit:
    """Worker children alone."""
    part, pids = await _children(ground, fault)
    blame(ground, fault, pids)
    send(ground, pids, signal.SIGKILL)
    return Hit(tuple(pids), ground.stack.incarnations(pids), part.name)


@act("kill", "supervisor")
async def kill_supervisor(ground: Ground, fault: PlannedFault) -> Hit:
    """A supervisor alone: its children notice and drain."""
    part = await choose(ground, fault)
    pids = group(ground, part)
    blame(ground, fault, pids)
    send(ground, pids[:1], signal.SIGKILL)
    return Hit(tuple(pids), ground.stack.incarnations(pids), part.name, watch_return=part.name)


async def _children(ground: Ground, fault: PlannedFault) -> tuple[Part, list[int]]:
    """A worker that has children, chosen anew at each look: the one before may be lost for good."""
    for _ in range(int(PATIENCE_S / LOOK_S)):
        part = await choose(ground, fault)
        pids = [child.pid for child in ground.stack.living_children(part.name)]
        if pids:
            return part, pids
        await asyncio.sleep(LOOK_S)
    raise DidNotFire(f"no {fault.target} runs")


@act("pause", *SERVICES, "child")
async def pause(ground: Ground, fault: PlannedFault) -> Hit:
    """Freeze: a long garbage collection, a machine that is moved."""
    if fault.target == "child":
        part, pids = await _children(ground, fault)
    else:
        part = await choose(ground, fault)
        pids = group(ground, part)
    send(ground, pids, signal.SIGSTOP)
    blame(ground, fault, pids)  # children that others declared dead meanwhile end when they wake

    async def wake() -> None:
        send(ground, pids, signal.SIGCONT)

    return Hit(tuple(pids), ground.stack.incarnations(pids), part.name, heal=wake)


@act("block", "child")
async def block(ground: Ground, fault: PlannedFault) -> Hit:
    """The children of a worker stand still while their supervisor goes on and speaks for them."""
    return await pause(ground, fault)


@act("stop", *SERVICES)
async def stop(ground: Ground, fault: PlannedFault) -> Hit:
    """As an operator does it."""
    part = await choose(ground, fault)
    pids = group(ground, part)
    blame(ground, fault, pids)
    send(ground, pids[:1], signal.SIGTERM)
    return Hit(tuple(pids), ground.stack.incarnations(pids), part.name, watch_return=part.name)


@act("stop", "worker:claiming")
async def stop_claiming(ground: Ground, fault: PlannedFault) -> Hit:
    """As an operator does it, in a moment in which jobs are claimed and not started."""
    stack = ground.stack
    action = f"sleep:{SLOW_CLAIM_MS}"
    stack.arm("worker", CLAIMED, action, fault.id)
    for _ in range(int(PATIENCE_S / 0.02)):
        found = stack.fired("worker", CLAIMED, action)
        if found is not None:
            break
        await asyncio.sleep(0.02)
    else:
        raise DidNotFire("nobody claimed a job")
    part = stack.parts[stack.part_of(found[0])]
    pids = group(ground, part)
    blame(ground, fault, pids)
    at = stack.clock.now()
    send(ground, pids[:1], signal.SIGTERM)
    return Hit(tuple(pids), stack.incarnations(pids), part.name, watch_return=part.name, at=at)


@act("stop-kill", *SERVICES)
async def stop_kill(ground: Ground, fault: PlannedFault) -> Hit:
    """As an operator without patience does it."""
    hit = await stop(ground, fault)

    async def end() -> None:
        send(ground, list(hit.pids), signal.SIGKILL)

    hit.heal = end
    return hit


@act("lose", *SERVICES)
async def lose(ground: Ground, fault: PlannedFault) -> Hit:
    """Gone, and nobody starts it again."""
    part = await choose(ground, fault)
    part.wanted = False
    hit = await kill(ground, fault)
    hit.watch_return = None
    return hit
