"""A TCP proxy for one pair of processes, whose two directions can be slowed, swallowed, held and cut on their own.

It needs nothing but Python: docker-compose.yml's profile `chaos` runs it in a container of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

LOOPBACK = "127.0.0.1"
CHUNK = 1 << 16
Rewrite = Callable[[bytes], bytes]
"""Takes what came, gives what is complete; keeps the rest until more comes."""


@dataclass(eq=False)
class Disturbance:
    """One fault of one direction. Several may be on at once, and each ends alone."""

    latency_s: float = 0.0
    holds: bool = False
    """Let nothing through, and lose nothing: a cable that is out. Connections stay open."""
    drops: bool = False
    """Swallow what comes."""
    cut_after: int | None = None
    """Break the connection behind so many bytes; once."""
    hits: int = 0
    """How many chunks it touched."""
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Direction:
    """What happens to the bytes of one direction."""

    def __init__(self) -> None:
        self._on: list[Disturbance] = []

    def lay(self, disturbance: Disturbance) -> Disturbance:
        """Begin one."""
        self._on.append(disturbance)
        return disturbance

    def lift(self, disturbance: Disturbance) -> None:
        """End one, whatever else is on."""
        if disturbance in self._on:
            self._on.remove(disturbance)
        disturbance.over.set()

    async def pass_on(self, data: bytes) -> tuple[bytes, bool]:
        """What of `data` goes on, after whatever time, and whether the connection is cut behind it."""
        for each in tuple(self._on):
            if each.latency_s:
                each.hits += 1
                await asyncio.sleep(each.latency_s)
        for each in tuple(self._on):
            if each.holds:
                each.hits += 1
                await each.over.wait()
        for each in self._on:
            if each.drops:
                each.hits += 1
                return b"", False
        for each in self._on:
            if each.cut_after is None:
                continue
            if len(data) < each.cut_after:
                each.cut_after -= len(data)
                continue
            each.hits += 1
            data, each.cut_after = data[: each.cut_after], None
            return data, True
        return data, False


class Connection:
    """One accepted connection and the one behind it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.torn = False
        """Bytes of it were swallowed: what follows would make no sense."""

    def abort(self) -> None:
        """Reset both sides."""
        for writer in (self.client, self.server):
            sock: socket.socket | None = writer.get_extra_info("socket")
            if sock is not None:
                with contextlib.suppress(OSError):  # it is closed already
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Link:
    """The way from one process to another.

    Args:
        name: As plans call it: `worker-0>redis`.
        target_port: It may change while the link lives.
        target_host: Where that is.
    """

    def __init__(self, name: str, target_port: int, *, target_host: str = LOOPBACK) -> None:
        self.name = name
        self.target_port = target_port
        self.target_host = target_host
        self.rewrite: Callable[[], Rewrite] | None = None
        """Makes what changes the replies of one connection."""
        self.up, self.down = Direction(), Direction()
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None, "started before"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def is_used(self) -> bool:
        """Whether somebody is connected."""
        return bool(self._connections)

    async def start(self, host: str = LOOPBACK, port: int = 0) -> None:
        """Listen; on a free port of loopback unless told otherwise."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=CHUNK)

    async def close(self) -> None:
        """Stop listening and reset what is open."""
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> int:
        """Reset every connection, and say how many."""
        count = len(self._connections)
        for connection in list(self._connections):
            connection.abort()
        return count

    def lay(self, make: Callable[[], Disturbance], directions: str = "both") -> list[Disturbance]:
        """Begin a fault of one direction, `up` or `down`, or of both: one disturbance each."""
        chosen = {"up": [self.up], "down": [self.down], "both": [self.up, self.down]}[directions]
        return [direction.lay(make()) for direction in chosen]

    def lift(self, disturbance: Disturbance) -> None:
        """End one, in whichever direction it is. Connections that lost bytes are reset."""
        for connection in list(self._connections):
            if connection.torn:
                connection.abort()
        for direction in (self.up, self.down):
            direction.lift(disturbance)

    async def _accept(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(client_reader, client)
        except (ConnectionError, OSError, asyncio.CancelledError):
            client.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        server_reader, server = await asyncio.open_connection(self.target_host, self.target_port, limit=CHUNK)
        connection = Connection(client, server)
        self._connections.add(connection)
        rewrite = self.rewrite() if self.rewrite is not None else None
        pumps = [
            asyncio.create_task(self._pump(connection, client_reader, server, self.up, None)),
            asyncio.create_task(self._pump(connection, server_reader, client, self.down, rewrite)),
        ]
        try:
            await asyncio.wait(pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._connections.discard(connection)
            for writer in (client, server):
                writer.close()

    async def _pump(
        self,
        connection: Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        direction: Direction,
        rewrite: Rewrite | None,
    ) -> None:
        try:
            while data := await reader.read(CHUNK):
                whole = rewrite(data) if rewrite is not None else data
                passed, cut = await direction.pass_on(whole)
                connection.torn = connection.torn or len(passed) < len(whole)
                if passed:
                    writer.write(passed)
                    await writer.drain()
                if cut:
                    connection.abort()
                    return
            writer.write_eof()
        except (ConnectionError, OSError, RuntimeError):
            connection.abort()
