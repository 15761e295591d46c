"""Writes down what happens, as it happens: in memory for the checkers, and line by line for whoever comes later."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

from .history import History, Run
from .history_file import KINDS, to_line


class Clock:
    """The run's one clock: seconds since its start, for this process, for others on this machine, and for servers."""

    def __init__(self) -> None:
        self.zero = time.monotonic()
        self.wall_at_zero = time.time() - (time.monotonic() - self.zero)

    def now(self) -> float:
        """Now."""
        return round(time.monotonic() - self.zero, 6)

    def of_monotonic(self, seconds: float) -> float:
        """Of another process's monotonic clock, which is this machine's."""
        return round(seconds - self.zero, 6)

    def of_wall(self, moment: datetime | float | None) -> float | None:
        """Of a wall clock's time."""
        if moment is None:
            return None
        seconds = moment.timestamp() if isinstance(moment, datetime) else moment
        return round(seconds - self.wall_at_zero, 6)


class Recorder:
    """The history of one run."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.clock = clock
        self.path = path
        self._records: dict[str, list[Any]] = {kind: [] for kind in KINDS}
        self._file = path.open("w", encoding="utf-8", buffering=1)

    def add(self, kind: str, record: Any) -> None:
        """Write one record down."""
        self._records[kind].append(record)
        self._file.write(to_line(kind, record) + "\n")

    def of(self, kind: str) -> list[Any]:
        """What was written of a kind so far."""
        return self._records[kind]

    def close(self, run: Run) -> History:
        """End the file with the run itself, and give the whole."""
        self._file.write(to_line("run", run) + "\n")
        self._file.close()
        return History(run, **{name: tuple(self._records[kind]) for kind, (name, _) in KINDS.items()})
