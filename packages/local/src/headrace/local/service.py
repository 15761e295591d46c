"""One of the four services as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from headrace.contracts.errors import HeadraceError
from headrace.local.ports import LOOPBACK
from headrace.local.spawn import spawn

_TAIL_LINES = 15
_ONE_PROBE = aiohttp.ClientTimeout(total=2)


class ServiceFailedError(HeadraceError):
    """A part of the system ended by itself or did not become ready; the message carries its last log lines."""


@dataclass(frozen=True)
class ServiceSpec:
    """What is started: a name, the port it usually listens on, and its program with arguments."""

    name: str
    usual_port: int
    command: tuple[str, ...]


def service_spec(name: str, usual_port: int) -> ServiceSpec:
    """The spec of a service of ours, run by this Python."""
    return ServiceSpec(name, usual_port, (sys.executable, "-m", f"headrace.{name}"))


class ServiceProcess:
    """A started service.

    Args:
        spec: What to start.
        port: The loopback port it is told to listen on.
        env: Its whole environment, without the port.
        log_file: Where its output goes; None shows it on our standard error.
    """

    def __init__(self, spec: ServiceSpec, *, port: int, env: Mapping[str, str], log_file: Path | None) -> None:
        self.name = spec.name
        self.url = f"http://{LOOPBACK}:{port}"
        self.log_file = log_file
        self._log_start = log_file.stat().st_size if log_file is not None and log_file.exists() else 0
        self._not_ready_because = "it does not answer"
        self._process: subprocess.Popen[bytes] = spawn(
            spec.command, output=log_file, env={**env, "JOB_HTTP_HOST": LOOPBACK, "JOB_HTTP_PORT": str(port)}
        )

    @property
    def pid(self) -> int:
        """The process id; also the id of its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal); None while it runs."""
        return self._process.poll()

    async def is_ready(self, session: aiohttp.ClientSession) -> bool:
        """Whether its readiness probe says so now.

        Raises:
            ServiceFailedError: It has ended.
        """
        self.check_runs()
        try:
            async with session.get(f"{self.url}/readyz", timeout=_ONE_PROBE) as response:
                self._not_ready_because = (await response.text())[:1000]
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def check_runs(self) -> None:
        """Do nothing while it runs.

        Raises:
            ServiceFailedError: It has ended, with its last log lines.
        """
        if self.exit_code is not None:
            raise self.failure()

    def failure(self) -> ServiceFailedError:
        """The error for a service that has ended, with its last log lines."""
        code = self.exit_code or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return ServiceFailedError(f"{self.name} {how}{self._last_lines()}")

    def not_ready(self) -> ServiceFailedError:
        """The error for a service that took too long."""
        return ServiceFailedError(f"{self.name} is not ready: {self._not_ready_because}{self._last_lines()}")

    def terminate(self) -> None:
        """Ask it to drain and end. It has time until `kill`."""
        if self.exit_code is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it and what it started in its process group, and wait for its end."""
        if self._process.returncode is None:  # not yet waited for, so the id is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _last_lines(self) -> str:
        if self.log_file is None:
            return "; its log is above"
        with self.log_file.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
        if not lines:
            return "; it logged nothing"
        return f"; the end of {self.log_file}:\n" + "\n".join(lines)
