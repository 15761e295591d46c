"""What the embedded Redis and MongoDB have in common: a process of ours with a folder and a loopback port."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from headrace.contracts.errors import HeadraceError
from headrace.local import ports
from headrace.local.folders import Folder
from headrace.local.spawn import spawn

_PORT_TRIES = 5


class ServerStartError(HeadraceError):
    """An embedded server did not start; the message carries the last lines of its log."""


class EmbeddedServer(ABC):
    """A store server of our own. All methods block, for milliseconds to a few seconds.

    Use it as `with` or `async with` (which waits in a thread), or call `start` and `close`. From a coroutine that must
    not be held up, call the slow ones through `asyncio.to_thread`. It dies with this process, however that ends.

    Args:
        folder: Where its data, settings and log live; without it a temporary folder that `close` removes.
        port: The loopback port; without it a free one, which it keeps over restarts.
    """

    name = "server"

    def __init__(self, *, folder: Path | None = None, port: int | None = None) -> None:
        self._folder = Folder(folder, purpose=self.name)
        self.folder = self._folder.path
        self._given_port = port
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._served_before = False

    @property
    def port(self) -> int:
        """The loopback port; known once it was started or when it was given."""
        if self._port is None:
            raise ServerStartError(f"{self.name} has no port before its first start")
        return self._port

    @property
    def pid(self) -> int:
        """The id of the running process.

        Raises:
            ServerStartError: It is not running.
        """
        if self._process is None or self._process.poll() is not None:
            raise ServerStartError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists (it may be paused)."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_file(self) -> Path:
        """What the server printed, appended over restarts."""
        return self.folder / f"{self.name}.log"

    @property
    @abstractmethod
    def url(self) -> str:
        """The address as the settings of Headrace take it."""

    def start(self, *, within: float = 30.0) -> None:
        """Start it and wait until it serves. Does nothing when it is running.

        Raises:
            ServerStartError: It ended, or did not serve within so many seconds.
            BinaryMissingError: Its program is not on this machine or cannot run here.
        """
        if self.running:
            return
        for attempt in range(1, _PORT_TRIES + 1):
            if self._port is None:
                self._port = ports.free_port()
            try:
                self._start_once(time.monotonic() + within)
                return
            except ServerStartError:
                # Somebody took the free port first. A given or once used port is part of the address: no other will do.
                fixed = self._given_port is not None or self._served_before
                if fixed or ports.is_free(self._port) or attempt == _PORT_TRIES:
                    raise
                self._port = None

    def _start_once(self, deadline: float) -> None:
        log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        self._process = spawn(self._command(), output=self.log_file)
        try:
            while not self._serves():
                self._check_starting(deadline, log_start)
                time.sleep(0.01)
            self._after_start(deadline)
        except BaseException:
            self.kill()
            raise
        self._served_before = True

    def _check_starting(self, deadline: float, log_start: int) -> None:
        if not self.running:
            raise ServerStartError(f"{self.name} ended at its start:\n{self._log_tail(log_start)}")
        if time.monotonic() > deadline:
            raise ServerStartError(f"{self.name} was not ready in time:\n{self._log_tail(log_start)}")

    def stop(self, *, grace: float = 10.0) -> None:
        """Stop it as an operator would (SIGTERM), after `grace` seconds by SIGKILL. Its folder stays."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)  # a paused server would not see the next signal
            process.terminate()
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        self._process = None

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers. `resume` wakes it."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal(signal.SIGCONT)

    def restart(self, *, keep_data: bool) -> None:
        """Stop it and start it at the same address, with its data or empty."""
        self.stop()
        if not keep_data:
            self.wipe()
        self.start()

    @abstractmethod
    def wipe(self) -> None:
        """Remove its data. Only while it is stopped."""

    def close(self) -> None:
        """Stop it. With a temporary folder nothing is worth an orderly end: it is killed and the folder removed."""
        if self._folder.temporary:
            self.kill()
        else:
            self.stop()
        self._folder.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    @abstractmethod
    def _command(self) -> list[str]:
        """Write what it reads at its start, and give the program with its arguments."""

    @abstractmethod
    def _serves(self) -> bool:
        """Whether it answers."""

    def _after_start(self, deadline: float) -> None:  # noqa: B027 -- most servers need nothing more
        """What must be done once it answers, before others may use it."""

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise ServerStartError(f"{self.name} is not running")
        self._process.send_signal(number)

    def _log_tail(self, start: int) -> str:
        with self.log_file.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-15:]) or "(it said nothing)"
