"""Faults of Redis: slow, away, empty, old, full, forgetful, and lying."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.exceptions import RedisError

from .history import PlannedFault
from .nemesis import DidNotFire, Ground, Hit, act
from .parts import KEYS

T = TypeVar("T")


PATIENCE_S = 12.0
"""Another fault may be on: Redis is asked until it answers."""


async def _do(ground: Ground, *words: str | int) -> Any:
    return await _patiently(ground, lambda: ground.watchers.redis.execute_command(*words))


async def _patiently(ground: Ground, ask: Callable[[], Awaitable[T]]) -> T:
    deadline = ground.stack.clock.now() + PATIENCE_S
    while True:
        try:
            return await ask()
        except (RedisError, OSError):
            if ground.stack.clock.now() > deadline:
                raise
        await asyncio.sleep(0.1)


@act("stall", "redis")
async def stall(ground: Ground, fault: PlannedFault) -> Hit:
    """It does nothing at all, and then everything that came meanwhile."""
    assert fault.until is not None
    seconds = fault.until - fault.at
    await _do(ground, "PING")
    asleep = asyncio.create_task(
        asyncio.to_thread(ground.stack.redis._ask, f"DEBUG SLEEP {seconds}", timeout=seconds + 5)
    )

    async def wake() -> str:
        try:
            return (await asleep).strip()
        except OSError:
            if not ground.stack.redis.running:
                return "and it was ended meanwhile"
            raise

    return Hit(detail=f"{seconds:.1f} s", heal=wake)


@act("client-pause", "redis")
async def client_pause(ground: Ground, fault: PlannedFault) -> Hit:
    """Writes wait, reads go on."""
    assert fault.until is not None
    await _do(ground, "CLIENT", "PAUSE", int((fault.until - fault.at) * 1000), "WRITE")
    return Hit()


@act("pause", "redis")
async def pause(ground: Ground, fault: PlannedFault) -> Hit:
    """Frozen: connections stay, and what is sent is done when it wakes."""
    redis = ground.stack.redis
    await _do(ground, "PING")
    redis.pause()
    pid = redis.pid

    async def wake() -> None:
        if redis.running:  # unless another fault has ended it meanwhile
            redis.resume()

    return Hit((pid,), heal=wake)


@act("flush", "redis")
async def flush(ground: Ground, fault: PlannedFault) -> Hit:
    """Everything gone, the process stays."""
    before = await _do(ground, "DBSIZE")
    await _do(ground, "FLUSHALL")
    return Hit(detail=f"{before} keys")


@act("empty-restart", "redis")
async def empty_restart(ground: Ground, fault: PlannedFault) -> Hit:
    """It dies and comes back with nothing."""
    at = ground.stack.clock.now()
    await asyncio.to_thread(ground.stack.redis.crash)
    return Hit(at=at)


@act("old-copy", "redis")
async def old_copy(ground: Ground, fault: PlannedFault) -> Hit:
    """It dies later, and comes back as it is now."""
    redis = ground.stack.redis
    await _patiently(ground, lambda: asyncio.to_thread(redis.copy))

    async def go_back() -> None:
        hit.at = ground.stack.clock.now()
        await asyncio.to_thread(redis.crash, back_to_copy=True)

    hit = Hit(heal=go_back)
    return hit


@act("script-flush", "redis")
async def script_flush(ground: Ground, fault: PlannedFault) -> Hit:
    """It forgets every script."""
    await _do(ground, "SCRIPT", "FLUSH")
    return Hit()


@act("drop-clients", "redis")
async def drop_clients(ground: Ground, fault: PlannedFault) -> Hit:
    """Every connection of ours is closed, but those of the suite."""
    dropped = 0
    for line in await _patiently(ground, lambda: ground.watchers.redis.client_list(_type="normal")):
        if not str(line["name"]).startswith("chaos"):
            await _do(ground, "CLIENT", "KILL", "ID", line["id"])
            dropped += 1
    if not dropped:
        raise DidNotFire("nobody was connected")
    return Hit(detail=f"{dropped} connections")


@act("fill-up", "redis")
async def fill_up(ground: Ground, fault: PlannedFault) -> Hit:
    """No room for anything new."""
    await _do(ground, "CONFIG", "SET", "maxmemory", 1)

    async def make_room() -> None:
        await _do(ground, "CONFIG", "SET", "maxmemory", 0)

    return Hit(heal=make_room)


@act("lie", "redis")
async def lie(ground: Ground, fault: PlannedFault) -> Hit:
    """Entries vanish, move, come twice, and name jobs that do not exist."""
    return Hit(detail=f"{len(await _patiently(ground, lambda: _lies(ground, fault)))} lies")


async def _lies(ground: Ground, fault: PlannedFault) -> list[str]:
    dice = random.Random(fault.id + fault.details.get("number", ""))
    redis = ground.watchers.redis
    done = []
    for place in ("ready", "delayed", "inflight"):
        for job_id, score in await redis.zrange(f"{KEYS.prefix}:{place}", 0, -1, withscores=True):
            luck = dice.random()
            if luck < 0.25:
                await redis.zrem(f"{KEYS.prefix}:{place}", job_id)
                done.append(f"-{place}")
            elif luck < 0.4:
                other = dice.choice([name for name in ("ready", "delayed", "inflight") if name != place])
                await redis.zadd(f"{KEYS.prefix}:{other}", {job_id: score})
                done.append(f"{place}+{other}")
            elif luck < 0.5:
                await redis.hdel(KEYS.holder, job_id)
                done.append("-holder")
    for number in range(3):
        await redis.zadd(KEYS.ready, {f"forged-{fault.id}-{number}": 0})
        done.append("forged")
    return done
