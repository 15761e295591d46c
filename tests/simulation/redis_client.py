"""The driver's side of the model Redis: what the queue calls, as redis-py offers it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from redis import exceptions

from .network import Errors, Network, Work
from .redis_scripts import ranked
from .redis_server import RedisModel

REDIS_ERRORS = Errors(
    refused=lambda: exceptions.ConnectionError("refused"),
    broken=lambda: exceptions.ConnectionError("closed"),
    timeout=lambda: exceptions.TimeoutError("timed out"),
)


class Board:
    """Who listens to what. A message that nobody hears is gone."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[PubSub]] = {}

    def add(self, channel: str, listener: PubSub) -> None:
        """Listen."""
        self._listeners.setdefault(channel, []).append(listener)

    def remove(self, listener: PubSub) -> None:
        """Listen no more."""
        for listeners in self._listeners.values():
            if listener in listeners:
                listeners.remove(listener)

    def drop_all(self) -> None:
        """Close every connection, as a restart does."""
        for listener in [listener for listeners in self._listeners.values() for listener in listeners]:
            listener.is_broken = True
            listener.hear({"type": "closed", "channel": "", "data": ""})
        self._listeners = {}

    def publish(self, channel: str, text: str) -> None:
        """Tell."""
        for listener in self._listeners.get(channel, ()):
            listener.hear({"type": "message", "channel": channel, "data": text})


class PubSub:
    """A subscription."""

    def __init__(self, client: Client, board: Board) -> None:
        self._client = client
        self._board = board
        self._messages: deque[dict[str, Any]] = deque()
        self._some = asyncio.Event()
        self.is_broken = False

    def hear(self, message: dict[str, Any]) -> None:
        """A message has come."""
        self._messages.append(message)
        self._some.set()

    async def subscribe(self, *channels: str) -> None:
        """See redis-py."""

        def work() -> None:
            for channel in channels:
                self._board.add(channel, self)
                self.hear({"type": "subscribe", "channel": channel, "data": 1})

        await self._client.ask("subscribe", work)

    async def get_message(self, timeout: float) -> dict[str, Any] | None:
        """See redis-py."""
        if not self._messages:
            self._some.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._some.wait()
            except TimeoutError:
                return None
        if self.is_broken:
            raise exceptions.ConnectionError("closed")
        return self._messages.popleft()

    async def ping(self) -> None:
        """See redis-py; the answer comes as a message."""
        self.hear({"type": "pong", "channel": "", "data": ""})

    async def aclose(self) -> None:
        """See redis-py."""
        self._board.remove(self)


class Client:
    """A client as the queue sees it."""

    def __init__(self, server: RedisModel, network: Network, board: Board, *, answer_seconds: float) -> None:
        self._server = server
        self._network = network
        self._board = board
        self._answer_seconds = answer_seconds

    async def ask(self, name: str, work: Work) -> Any:
        """Send a command."""
        return await self._network.call("redis", name, work, errors=REDIS_ERRORS, deadline=self._answer_seconds)

    async def evalsha(self, sha: str, count: int, *given: str | int) -> Any:
        """See redis-py."""
        keys, args = [str(key) for key in given[:count]], given[count:]
        return await self.ask(self._server.name_of(sha), lambda: self._server.evalsha(sha, keys, args))

    async def script_load(self, source: str) -> str:
        """See redis-py."""
        return str(await self.ask("script_load", lambda: self._server.script_load(source)))

    async def zscan(self, key: str, *, cursor: int, count: int) -> tuple[int, list[tuple[str, float]]]:
        """See redis-py. One page holds everything."""
        found: list[tuple[str, float]] = await self.ask("zscan", lambda: ranked(self._server.zset(key)))
        return 0, found

    async def hscan(self, key: str, *, cursor: int, count: int) -> tuple[int, dict[str, str]]:
        """See redis-py. One page holds everything."""
        found: dict[str, str] = await self.ask("hscan", lambda: dict(self._server.hash(key)))
        return 0, found

    async def get(self, key: str) -> str | None:
        """See redis-py."""
        found: str | None = await self.ask("get", lambda: self._server.values.get(key))
        return found

    async def publish(self, channel: str, text: str) -> int:
        """See redis-py."""
        await self.ask("publish", lambda: self._server.publish(channel, text))
        return 0

    async def time(self) -> tuple[int, int]:
        """See redis-py."""
        now: int = await self.ask("time", self._server.now_us)
        return divmod(now, 1_000_000)

    async def ping(self) -> bool:
        """See redis-py."""
        await self.ask("ping", lambda: True)
        return True

    async def info(self, section: str) -> dict[str, Any]:
        """See redis-py."""
        return dict(await self.ask("info", lambda: {"run_id": self._server.run_id, "maxmemory_policy": "noeviction"}))

    def pubsub(self) -> PubSub:
        """See redis-py."""
        return PubSub(self, self._board)

    async def aclose(self) -> None:
        """See redis-py."""
