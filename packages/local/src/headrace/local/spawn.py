"""Start programs that cannot outlive this process, not even when it is killed.

The kernel sends a child its parent-death signal when the *thread* that started it ends. So every child is started by
one thread that lives as long as this process, whoever asks for it. The signal is set by a small launcher that then
becomes the program: nothing runs between fork and exec in a process that has threads.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO

_LAUNCHER = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).prctl(1, int(sys.argv[2]), 0, 0, 0) != 0:
    sys.exit("cannot set the parent-death signal")
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[3], sys.argv[3:])
"""

_Task = tuple["Future[subprocess.Popen[bytes]]", list[str], dict[str, str], IO[bytes] | None]


def spawn(
    argv: Sequence[str],
    *,
    output: Path | None,
    env: Mapping[str, str] | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, so that Ctrl-C on our terminal does not reach it.

    Args:
        argv: The program's absolute path and its arguments.
        output: The file its output is appended to; None shows it where ours goes (standard error).
        env: Its whole environment; ours by default.
        death_signal: What it receives when this process ends, however it ends.

    Raises:
        OSError: The output file cannot be opened, or no process can be started.

    Not guaranteed: what the program itself starts must notice on its own that it is gone.
    """
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(int(death_signal)), *argv]
    target = output.open("ab") if output is not None else None
    try:
        return _spawner().start(launcher, dict(os.environ if env is None else env), target)
    finally:
        if target is not None:
            target.close()


class _Spawner:
    """The thread that starts every child of this process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="headrace-spawner", daemon=True).start()

    def start(self, argv: list[str], env: dict[str, str], target: IO[bytes] | None) -> subprocess.Popen[bytes]:
        future: Future[subprocess.Popen[bytes]] = Future()
        self._tasks.put((future, argv, env, target))
        return future.result()

    def _run(self) -> None:
        while True:
            future, argv, env, target = self._tasks.get()
            try:
                future.set_result(
                    subprocess.Popen(  # noqa: S603 -- starting programs is what this file is for
                        argv,
                        stdin=subprocess.DEVNULL,
                        stdout=sys.__stderr__ if target is None else target,
                        stderr=subprocess.STDOUT,
                        env=env,
                        start_new_session=True,
                    )
                )
            except BaseException as error:  # noqa: BLE001 -- handed to the thread that asked
                future.set_exception(error)


_lock = threading.Lock()
_current: _Spawner | None = None


def _spawner() -> _Spawner:
    global _current  # noqa: PLW0603 -- one per process; a forked process has lost the thread and needs its own
    with _lock:
        if _current is None or _current.pid != os.getpid():
            _current = _Spawner()
        return _current
