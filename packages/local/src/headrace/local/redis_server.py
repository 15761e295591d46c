"""An embedded Redis or Valkey server."""

from __future__ import annotations

import secrets
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from headrace.local.binaries import RedisKind, find_redis
from headrace.local.ports import LOOPBACK
from headrace.local.server import EmbeddedServer, ServerStartError


class RedisServer(EmbeddedServer):
    """A real redis-server or valkey-server on loopback, with DEBUG allowed from there.

    Args:
        prefer: Only this kind; without it whichever is found (see `find_redis`).
        folder: See `EmbeddedServer`.
        port: See `EmbeddedServer`.
        appendonly: Whether writes are kept over a crash. Without it a killed or stopped server comes back empty;
            `restart(keep_data=True)` keeps the data either way.
        password: True asks for a random one, which `url` then carries.
        settings: Further lines of its settings file, such as `{"maxmemory": "8mb"}`.
    """

    name = "redis"

    def __init__(
        self,
        *,
        prefer: RedisKind | None = None,
        folder: Path | None = None,
        port: int | None = None,
        appendonly: bool = False,
        password: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._program = find_redis(prefer)
        super().__init__(folder=folder, port=port)
        self._appendonly = appendonly
        self._password = secrets.token_hex(16) if password else None
        self._settings = dict(settings or {})

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:PORT/0`, with the password if there is one."""
        login = f":{self._password}@" if self._password else ""
        return f"redis://{login}{LOOPBACK}:{self.port}/0"

    def restart(self, *, keep_data: bool) -> None:
        """Stop it and start it at the same address, with its data or empty. Its run id changes either way.

        Raises:
            ServerStartError: It could not save its data, or did not start again.
        """
        if not keep_data or self._appendonly:
            super().restart(keep_data=keep_data)
            return
        answer = self._ask("SAVE", timeout=30)
        if not answer.startswith("+OK"):
            raise ServerStartError(f"{self.name} could not save its data: {answer.strip()}")
        super().restart(keep_data=True)
        # Loaded by now. Left there, a later crash would bring an old state back instead of nothing.
        self._dump.unlink(missing_ok=True)

    def wipe(self) -> None:
        """Remove its data. Only while it is stopped."""
        self._dump.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)

    @property
    def _dump(self) -> Path:
        return self.folder / "dump.rdb"

    def _command(self) -> list[str]:
        settings = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": f'"{self.folder}"',
            "daemonize": "no",
            "save": '""',
            "appendonly": "yes" if self._appendonly else "no",
            "enable-debug-command": "local",
        }
        if self._password:
            settings["requirepass"] = self._password
        # A file and not arguments: those are readable by everybody on this machine.
        file = self.folder / "redis.conf"
        file.touch(mode=0o600)
        file.write_text("".join(f"{name} {value}\n" for name, value in (settings | self._settings).items()))
        return [str(self._program), str(file)]

    def _serves(self) -> bool:
        # Its process id, not just an answer: on a port that was snatched another server would answer. While it loads
        # its data it answers nothing but this.
        try:
            if not self.running:
                return False
            told = self._ask("INFO", timeout=0.5)
            return f"process_id:{self.pid}\r\n" in told and "\r\nloading:0\r\n" in told
        except OSError:
            return False

    def _ask(self, command: str, *, timeout: float) -> str:
        """The answer to one command: its line, or the text of a bulk string."""
        login = f"AUTH {self._password}\r\n" if self._password else ""
        with (
            socket.create_connection((LOOPBACK, self.port), timeout=timeout) as connection,
            connection.makefile("rb") as answers,
        ):
            connection.sendall(f"{login}{command}\r\n".encode())
            if login:
                answers.readline()
            line = answers.readline().decode()
            return answers.read(int(line[1:])).decode() if line.startswith("$") else line
