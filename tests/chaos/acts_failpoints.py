"""Faults at a named line of our own code, and what leads a process there."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from .acts_processes import blame, group, send
from .failpoint_table import PLACES, Place
from .history import PlannedFault
from .nemesis import DidNotFire, Ground, Hit, act
from .parts import KEYS

PATIENCE_S = 60.0
"""How long nobody may come: while workers are killed time after time the queue is full and takes nothing."""
PROVOKE_S = 4.0
"""How often what leads there is done again."""
STOPPED_S = {"scheduler": 0.7, "child": 1.5, "supervisor": 2.5, "recovery:leader": 1.0}
"""How long a stopped process stays so: a supervisor longer than its children's lease."""
AT_REST_S = 0.3
BY_NAME = {place.name: place for place in PLACES}


@act("failpoint", "*")
async def failpoint(ground: Ground, fault: PlannedFault) -> Hit:
    """Arm it, lead somebody there, and see to it that the service works again."""
    _, name, action = fault.kind.split(":", 2)
    place = BY_NAME[name]
    stack = ground.stack
    stack.arm(place.role, name, action, fault.id)
    pid, at = await _lead_there(ground, fault, place, action)
    pids = [pid]
    if place.target == "supervisor" and action == "stop":  # longer than a lease: its children are declared dead
        pids += [child.pid for child in stack.children.values() if child.part == stack.part_of(pid)]
        blame(ground, fault, pids)
    hit = Hit(tuple(pids), stack.incarnations(pids), stack.part_of(pid), at=at)

    async def heal() -> None:
        if action == "stop":
            await asyncio.sleep(STOPPED_S[place.target])
            stack.signal(pid, signal.SIGCONT)
        await _until_one_is_ready(ground, place.role)
        await asyncio.sleep(AT_REST_S)

    hit.heal = heal
    return hit


async def _lead_there(ground: Ground, fault: PlannedFault, place: Place, action: str) -> tuple[int, float]:
    clock = ground.stack.clock
    deadline, again = clock.now() + PATIENCE_S, clock.now()
    while clock.now() < deadline:
        if clock.now() >= again and place.provoke != "load":
            done = await PROVOKE[place.provoke](ground, fault)
            again = clock.now() + (PROVOKE_S if done else 0.2)
        found = ground.stack.fired(place.role, place.name, action)
        if found is not None:
            return found
        await asyncio.sleep(0.02)
    raise DidNotFire(f"nobody came to {place.name} within {PATIENCE_S:g} s")


async def _until_one_is_ready(ground: Ground, role: str) -> None:
    deadline = ground.stack.clock.now() + 20
    while ground.stack.clock.now() < deadline:
        for part in ground.stack.of_role(role):
            if await ground.stack.is_ready(part):
                return
        await asyncio.sleep(0.05)


# -- what leads there ----------------------------------------------------------------------------------------------


async def _kill_child(ground: Ground, fault: PlannedFault) -> bool:
    for part in ground.stack.of_role("worker"):
        children = [child.pid for child in ground.stack.living_children(part.name)] if part.runs else []
        if children:
            blame(ground, fault, children)
            send(ground, children, signal.SIGKILL)
            return True
    return False


async def _kill_host(ground: Ground, fault: PlannedFault) -> bool:
    parts = [part for part in ground.stack.of_role("worker") if part.runs and ground.stack.living_children(part.name)]
    if not parts:
        return False
    pids = group(ground, parts[-1])
    blame(ground, fault, pids)
    send(ground, pids, signal.SIGKILL)
    return True


async def _unsettled(ground: Ground, fault: PlannedFault) -> bool:
    """A settlement fails in a way that nobody foresaw: its jobs are owned, and nobody holds them."""
    ground.stack.arm("worker", "worker.before_settle", "error:StoreUnavailableError,once", fault.id)
    return True


async def _pop_and_die(ground: Ground, fault: PlannedFault) -> bool:
    ground.stack.arm("worker", "worker.after_pop", "exit137,once", fault.id)
    return True


async def _flush(ground: Ground, fault: PlannedFault) -> bool:
    return await _with_redis(ground.watchers.redis.flushall)


async def _old_inflight(ground: Ground, fault: PlannedFault) -> bool:
    """An id is in flight for long, under a token that nobody has. No job has it, so nobody else mends it first."""
    name, claimed_ms = f"forged-{uuid.uuid4().hex[:12]}", int(time.time() * 1000) - 60_000

    async def forge() -> None:
        await ground.watchers.redis.zadd(KEYS.inflight, {name: claimed_ms})
        await ground.watchers.redis.hset(KEYS.holder, name, f"nobody.{uuid.uuid4().hex}")

    return await _with_redis(forge)


async def _with_redis(do: Callable[[], Awaitable[object]]) -> bool:
    try:
        await do()
    except (RedisError, OSError):
        return False  # it is tried again
    return True


PROVOKE: dict[str, Callable[[Ground, PlannedFault], Awaitable[bool]]] = {
    "kill-child": _kill_child,
    "kill-host": _kill_host,
    "unsettled": _unsettled,
    "pop-and-die": _pop_and_die,
    "flush": _flush,
    "old-inflight": _old_inflight,
}
