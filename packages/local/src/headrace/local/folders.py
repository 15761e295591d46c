"""Temporary folders that are removed even when their maker was killed: by the next one who comes along."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

from headrace.contracts.errors import HeadraceError

_PREFIX = "headrace-"
_LOCK = ".in-use"


class FolderInUseError(HeadraceError):
    """Another running system keeps its data in this folder."""


class Folder:
    """A folder held by this process. The kernel gives the hold up when the process ends, however it ends.

    Args:
        path: An existing or a new folder, which stays; without it a temporary one, which `close` removes.
        purpose: A word in the name of a temporary folder.

    Raises:
        FolderInUseError: Another process holds `path`.
        OSError: The folder cannot be made or written.
    """

    def __init__(self, path: Path | None = None, *, purpose: str = "data") -> None:
        self.temporary = path is None
        if path is None:
            remove_leftovers()
            self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{purpose}-"))
        else:
            self.path = path.absolute()
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _hold(self.path / _LOCK)
        if lock is None:
            raise FolderInUseError(f"{self.path} is in use by another running system")
        self._lock: int | None = lock

    def close(self) -> None:
        """Let go of it; a temporary folder is removed."""
        if self._lock is None:
            return
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = None


def remove_leftovers() -> int:
    """Remove the temporary folders of processes that are gone, and say how many. Those in use are left alone."""
    removed = 0
    for lock_file in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(FileNotFoundError):  # somebody else removes it at the same moment
            removed += _remove_if_left(lock_file)
    return removed


def _remove_if_left(lock_file: Path) -> bool:
    # The folder for temporary files is everybody's: a link or a stranger's folder is not touched.
    facts = lock_file.parent.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        return False
    lock = _hold(lock_file)
    if lock is None:
        return False
    shutil.rmtree(lock_file.parent, ignore_errors=True)
    os.close(lock)
    return True


def _hold(lock_file: Path) -> int | None:
    # Held before it gets its name: a folder whose lock file is there and free has lost its holder.
    if not lock_file.exists():
        draft = lock_file.with_name(f"{_LOCK}.{os.getpid()}")
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            os.link(draft, lock_file)
            return descriptor
        except FileExistsError:
            os.close(descriptor)
        finally:
            draft.unlink()
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
