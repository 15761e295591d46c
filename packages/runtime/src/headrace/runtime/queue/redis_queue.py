"""`RedisJobQueue`: the queue of job ids that is asked first."""

from __future__ import annotations

import contextlib
from typing import Any, cast

from headrace.contracts.errors import ConfigError, StoreUnavailableError
from headrace.contracts.job import SCORE_STEP, Priority
from headrace.runtime.queue.base import Depths
from headrace.runtime.queue.errors import translate
from headrace.runtime.queue.mend import MendVerbs


class RedisJobQueue(MendVerbs):
    """A `JobQueue` in Redis (or Valkey), with what recovery needs besides.

    Each verb is one script, or one per five hundred ids, and safe to repeat. Nothing here is the truth: an id says
    that a job may want to run, its document says whether it does. Makes no connection until it is used.

    Args:
        redis: From `redis_client(kind="command")`; closed by `close()`.
        namespace: Prefix of every key and channel.
        breaker: Refuses verbs at once while Redis is known to be away; for callers that have none of their own.
    """

    async def depths(self, pool: str) -> Depths:
        """How much is where, at one moment."""
        *waiting, delayed, in_flight, reserved, due, oldest_ms, paused, complete = await self._depths(pool)
        return Depths(
            waiting={priority.value: waiting[priority.rank] for priority in Priority},
            delayed=delayed,
            in_flight=in_flight,
            reserved=reserved,
            due=due,
            oldest_ms=None if oldest_ms < 0 else oldest_ms,
            paused=paused == 1,
            complete=complete == 1,
        )

    async def is_complete(self, pool: str) -> bool:
        """Whether every job of the pool that is not over is known to be here: rebuilt, and nothing lost since."""
        return bool((await self._depths(pool))[-1] == 1)

    async def drained(self, pool: str) -> int:
        """How many jobs left the pool, ended or cancelled, since Redis lost its data last: it starts anew then."""
        with translate():
            value = await cast("Any", self._redis.get(self._keys.pool(pool).drained))
        return int(value) if value is not None and str(value).isdecimal() else 0

    async def _depths(self, pool: str) -> list[int]:
        keys = self._keys.pool(pool)
        over = [keys.ready, keys.delayed, keys.inflight, keys.reserved, keys.paused, keys.epoch]
        return cast("list[int]", await self._run("depths", over, [SCORE_STEP]))

    async def pause(self, pool: str, on: bool, reason: str = "") -> None:
        """Stop claims of the pool, or let them go on. Lost with Redis' data: the rebuild writes it again."""
        await self._run("pause", [self._keys.pool(pool).paused], [self._keys.wake(pool), int(on), reason])

    async def run_id(self) -> str:
        """The random name that this server process gave itself: a restart changes it, a flush does not."""
        return str((await self._info("server"))["run_id"])

    async def check_policy(self) -> None:
        """Refuse a server that may throw jobs away.

        Raises:
            ConfigError: `maxmemory-policy` is not `noeviction`.
            StoreUnavailableError: Redis does not answer.
        """
        policy = (await self._info("memory")).get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise ConfigError(
                f"Redis must run with maxmemory-policy noeviction, not {policy}: it would throw waiting jobs away"
            )

    async def ping(self) -> None:
        """Return when Redis answers.

        Raises:
            StoreUnavailableError: It does not.
        """
        with translate():
            await cast("Any", self._redis.ping())

    async def time_ms(self) -> int:
        """Redis' clock."""
        with translate():
            seconds, micros = await cast("Any", self._redis.time())
        return int(seconds) * 1000 + int(micros) // 1000

    async def close(self) -> None:
        """Close every connection. Never raises: what cannot be closed is gone already."""
        with contextlib.suppress(StoreUnavailableError), translate():
            await self._redis.aclose()

    async def _info(self, section: str) -> dict[str, Any]:
        with translate():
            return await self._redis.info(section)
