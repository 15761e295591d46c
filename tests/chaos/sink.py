"""The fenced sink: it takes an effect only from the newest attempt it has heard of."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from pathlib import Path

from .history import Effect
from .recorder import Recorder


class FencedSink:
    """Listens on a Unix socket; one line in, one word out. It decides in the order in which lines come."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._newest: dict[str, int] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="hr-")  # the path of a socket is short
        self.path = Path(self._folder.name) / "sink"
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def close(self) -> None:
        """Stop."""
        if self._server is not None:
            self._server.close()
        self._folder.cleanup()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(b"taken\n" if self.take(line) else b"refused\n")
                await writer.drain()
        writer.close()

    def take(self, line: bytes) -> bool:
        """Judge one effect."""
        job_id, attempt, pid, phase, _ = json.loads(line)
        applied = bool(attempt >= self._newest.get(job_id, 0))
        if applied:
            self._newest[job_id] = attempt
        self._recorder.add(
            "effect",
            Effect(job_id, attempt, self._recorder.clock.now(), pid=pid, phase=phase, sink="fenced", applied=applied),
        )
        return applied
