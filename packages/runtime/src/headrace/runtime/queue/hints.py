"""Hints between processes: wake-ups, control messages, heartbeats. Losing any of them costs nothing but time.

Every reader polls the truth as well. So sending never raises, and a listener never ends because Redis went away.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.heartbeat import Heartbeat
from headrace.runtime.queue import scripts
from headrace.runtime.queue.errors import translate
from headrace.runtime.queue.keys import Keys
from headrace.runtime.queue.listener import Listener

SEND_SECONDS = 2.0
KEEP_BEATS_MS = 600_000
"""A service that has been silent for ten minutes is not listed any more."""

log = structlog.get_logger(__name__)


class Hints:
    """Publishes and listens under one namespace.

    Args:
        redis: Of either kind; a listener takes one connection of it for as long as it runs.
        namespace: Prefix of every key and channel.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._keys = Keys(namespace)
        self._is_sending = True

    async def wake(self, pool: str) -> bool:
        """Say that something in `pool` became ready; the queue's scripts do so themselves. False: not sent."""
        return await self._publish(self._keys.wake(pool), "ready")

    async def control(self, message: dict[str, Any]) -> bool:
        """Tell every worker something, for example which job to cancel. False: not sent."""
        return await self._publish(self._keys.control, json.dumps(message))

    async def beat(self, heartbeat: Heartbeat) -> bool:
        """Leave a heartbeat in place of the process's last one. False: not sent."""
        process = f"{heartbeat.host}:{heartbeat.pid}:{heartbeat.service}"
        keys = [self._keys.beats, self._keys.beats_seen]
        return await self._send(
            scripts.run(self._redis, "beat", keys, [process, heartbeat.model_dump_json(), KEEP_BEATS_MS])
        )

    async def heartbeats(self, *, max_age_ms: int = KEEP_BEATS_MS) -> list[Heartbeat]:
        """The last heartbeat of each process that beat within `max_age_ms` by Redis' clock, newest first.

        Its `at` is the moment when it reached Redis, by Redis' clock: the process's own may be an hour off. What is
        not a heartbeat of this version is left out.

        Raises:
            StoreUnavailableError: Redis does not answer; an empty list would say that no worker lives.
        """
        found = await scripts.run(self._redis, "beats", [self._keys.beats, self._keys.beats_seen], [max_age_ms])
        beats = (_parsed(text, int(at_ms)) for text, at_ms in zip(found[::2], found[1::2], strict=True))
        return [beat for beat in beats if beat is not None]

    async def wakes(self, pools: Sequence[str]) -> AsyncIterator[str]:
        """The names of pools in which something became ready, as it happens; also each one after a reconnect."""
        channels = {self._keys.wake(pool): pool for pool in pools}
        async with Listener(self._redis, tuple(channels), greet=True) as listener:
            async for channel, _ in listener:
                yield channels[channel]

    async def controls(self) -> AsyncIterator[dict[str, Any]]:
        """Control messages as they come. What is not a JSON object is left out."""
        async with Listener(self._redis, (self._keys.control,)) as listener:
            async for _, text in listener:
                try:
                    message = json.loads(text)
                except ValueError:
                    message = None
                if isinstance(message, dict):
                    yield message
                else:
                    log.warning("hints.message_not_understood", channel="control")

    async def _publish(self, channel: str, text: str) -> bool:
        return await self._send(self._redis.publish(channel, text))

    async def _send(self, call: Any) -> bool:
        try:
            with translate():
                async with asyncio.timeout(SEND_SECONDS):
                    await call
        except StoreUnavailableError as error:
            if self._is_sending:
                log.warning("hints.not_sent", reason=error.detail)
            self._is_sending = False
            return False
        if not self._is_sending:
            log.info("hints.sent_again")
        self._is_sending = True
        return True


def _parsed(text: str, at_ms: int) -> Heartbeat | None:
    try:
        beat = Heartbeat.model_validate_json(text)
        return beat.model_copy(update={"at": datetime.fromtimestamp(at_ms / 1000, UTC)})
    except (ValidationError, ValueError, OverflowError):
        log.warning("hints.message_not_understood", kind="Heartbeat")
        return None
