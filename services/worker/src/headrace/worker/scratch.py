"""Scratch folders of children: one for each, and it goes when its process has ended, however that ended.

A lock on the folder says that it is in use. The child inherits it, so it holds until supervisor and child are gone.
What a killed supervisor leaves behind is removed by the next worker service that starts there as the same user.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

import structlog

PREFIX = "headrace-scratch-"

log = structlog.get_logger(__name__)


class ScratchFolder:
    """The scratch folder of one child; exists and is locked from the start.

    Attributes:
        path: The folder.
        descriptor: Holds the lock. The child must inherit it.
    """

    def __init__(self, incarnation: str) -> None:
        # Locked first and then given its name: a service that starts meanwhile must not take it for a left one.
        made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}{incarnation}-"))
        self.descriptor = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        self.path = made.rename(made.with_name(made.name.removeprefix(".")))

    def remove(self) -> None:
        """Remove it with everything in it. Does nothing the second time."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)


def remove_left_folders() -> int:
    """Remove the scratch folders of this user whose processes are all gone. Returns how many there were."""
    removed = 0
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # another service was quicker
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
            removed += 1
        except BlockingIOError:
            continue  # in use
        finally:
            os.close(descriptor)
    if removed:
        log.info("scratch.left_removed", folders=removed)
    return removed
