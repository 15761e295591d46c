"""Faults at a named line of our own code, and what leads a process there."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from redis.exceptions import RedisError

from .acts_processes import blame, group, send
from .failpoint_table import PLACES, Place
from .history import PlannedFault
from .nemesis import DidNotFire, Ground, Hit, act
from .stack import NAMESPACE, POOL

PATIENCE_S = 30.0
PROVOKE_S = 6.0
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
    hit = Hit((pid,), stack.incarnations([pid]), stack.children[pid].part if pid in stack.children else "", at=at)

    async def heal() -> None:
        if action == "stop":
            await asyncio.sleep(STOPPED_S[place.target])
            stack.signal(pid, signal.SIGCONT)
        await _until_ready(ground, place.role)
        await asyncio.sleep(AT_REST_S)

    hit.heal = heal
    return hit


async def _lead_there(ground: Ground, fault: PlannedFault, place: Place, action: str) -> tuple[int, float]:
    clock = ground.stack.clock
    deadline, again = clock.now() + PATIENCE_S, clock.now()
    while clock.now() < deadline:
        if clock.now() >= again and place.provoke != "load":
            again = clock.now() + PROVOKE_S
            await PROVOKE[place.provoke](ground, fault)
        found = ground.stack.fired(place.role, place.name, action)
        if found is not None:
            return found
        await asyncio.sleep(0.02)
    raise DidNotFire(f"nobody came to {place.name} within {PATIENCE_S:g} s")


async def _until_ready(ground: Ground, role: str) -> None:
    deadline = ground.stack.clock.now() + 20
    for part in ground.stack.of_role(role):
        while not await ground.stack.is_ready(part) and ground.stack.clock.now() < deadline:
            await asyncio.sleep(0.05)


# -- what leads there ----------------------------------------------------------------------------------------------


async def _kill_child(ground: Ground, fault: PlannedFault) -> None:
    for part in ground.stack.of_role("worker"):
        children = [child.pid for child in ground.stack.living_children(part.name)] if part.runs else []
        if children:
            blame(ground, fault, children)
            send(ground, children, signal.SIGKILL)
            return


async def _kill_host(ground: Ground, fault: PlannedFault) -> None:
    part = next(part for part in reversed(ground.stack.of_role("worker")) if part.runs)
    pids = group(ground, part)
    blame(ground, fault, pids)
    send(ground, pids, signal.SIGKILL)


async def _unsettled(ground: Ground, fault: PlannedFault) -> None:
    """A settlement fails in a way that nobody foresaw: its jobs are owned, and nobody holds them."""
    ground.stack.arm("worker", "worker.before_settle", "error:StoreUnavailableError,once", fault.id)


async def _pop_and_die(ground: Ground, fault: PlannedFault) -> None:
    ground.stack.arm("worker", "worker.after_pop", "exit137,once", fault.id)


async def _flush(ground: Ground, fault: PlannedFault) -> None:
    await _with_redis(ground.watchers.redis.flushall)


async def _old_inflight(ground: Ground, fault: PlannedFault) -> None:
    """An id that waits is in flight, for long, under a token that nobody has."""
    prefix = f"{NAMESPACE}:{{{POOL}}}"
    later = datetime.now(UTC) + timedelta(seconds=0.5)
    job = await ground.watchers.database.jobs.find_one({"state": "queued", "run_at": {"$gt": later}})
    if job is None:
        return

    async def move() -> None:
        redis = ground.watchers.redis
        await redis.zrem(f"{prefix}:delayed", job["_id"])
        await redis.zadd(f"{prefix}:inflight", {job["_id"]: int(time.time() * 1000) - 60_000})
        await redis.hset(f"{prefix}:holder", job["_id"], f"nobody.{uuid.uuid4().hex}")

    await _with_redis(move)


async def _with_redis(do: Callable[[], Awaitable[object]]) -> None:
    try:
        await do()
    except (RedisError, OSError):
        return  # it is tried again


PROVOKE: dict[str, Callable[[Ground, PlannedFault], Awaitable[None]]] = {
    "kill-child": _kill_child,
    "kill-host": _kill_host,
    "unsettled": _unsettled,
    "pop-and-die": _pop_and_die,
    "flush": _flush,
    "old-inflight": _old_inflight,
}
