"""Python runs this at its start when this folder is on PYTHONPATH: the process has a wall clock that can be put wrong.

`HEADRACE_CLOCK` names a file of eight bytes, the seconds that the clock is ahead; whoever writes there makes it jump.
What Python code reads of the wall clock follows; monotonic clocks do not. Honoured in test mode only.
"""

from __future__ import annotations

import datetime as datetimes
import mmap
import os
import struct
import time
from datetime import tzinfo
from pathlib import Path
from typing import Any, Self, cast

_Real = datetimes.datetime


def _install(file: Path) -> None:
    with file.open("r+b") as opened:
        memory = mmap.mmap(opened.fileno(), 8)
    real_time, real_time_ns = time.time, time.time_ns

    def ahead() -> float:
        return float(struct.unpack_from("<d", memory)[0])

    class Kind(type):
        """Every datetime is one of ours, whoever made it."""

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, _Real)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, _Real)

    class Datetime(_Real, metaclass=Kind):
        """The usual one, with another now."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cast("Self", _Real.now(tz) + datetimes.timedelta(seconds=ahead()))

        @classmethod
        def utcnow(cls) -> Self:
            return cls.now(datetimes.UTC).replace(tzinfo=None)

    replaced: Any = time
    replaced.time = lambda: real_time() + ahead()
    replaced.time_ns = lambda: real_time_ns() + int(ahead() * 1e9)
    module: Any = datetimes
    module.datetime = Datetime


if os.environ.get("HEADRACE_CLOCK") and os.environ.get("JOB_TEST_MODE") == "1":
    _install(Path(os.environ["HEADRACE_CLOCK"]))
