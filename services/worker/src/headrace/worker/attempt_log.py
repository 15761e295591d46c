"""The last lines of one attempt: what its job prints and logs, until it is written.

Which job speaks is known from a context variable, which tasks inherit and threads have for themselves: jobs that run at
the same time do not mix. A thread that an executor starts by itself belongs to no job, unless it copies its context.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar

from headrace.contracts.job import Job
from headrace.runtime.store.job_logs import LogBatch
from headrace.worker.outcome import clean_text

MAX_LINES = 500
MAX_BYTES = 64 * 1024
MAX_CHARACTERS = 4000
"""Of one line; the rest of it is cut off."""

Line = tuple[int, float, str, str]


class AttemptLog:
    """The last lines of one attempt. From any thread."""

    __slots__ = (
        "_attempt",
        "_bytes",
        "_is_noted",
        "_job_id",
        "_lines",
        "_lock",
        "_note",
        "_number",
        "_parts",
        "_saved",
    )

    def __init__(self, job: Job, note: Callable[[AttemptLog], None]) -> None:
        self._job_id = job.id
        self._attempt = job.attempt
        self._note = note
        self._lines: deque[Line] | None = None  # most jobs say nothing
        self._parts: dict[str, str] = {}
        self._lock = threading.Lock()
        self._bytes = self._number = self._saved = 0
        self._is_noted = False

    def say(self, level: str, text: str) -> None:
        """Add a text of one or more lines."""
        for line in text.splitlines() or [""]:
            self._add(level, line)

    def write(self, level: str, text: str) -> None:
        """Add what was written to a stream. A line counts when it ends, or when it is as long as a line may be."""
        *whole, rest = (self._parts.pop(level, "") + text).split("\n")
        for line in whole:
            self._add(level, line)
        if len(rest) >= MAX_CHARACTERS:
            self._add(level, rest)
        elif rest:
            self._parts[level] = rest

    def end(self) -> None:
        """The attempt is over: what has no end of line counts as it is."""
        while self._parts:
            self._add(*self._parts.popitem())

    def discard(self) -> None:
        """Forget what is not written yet: the attempt does not count."""
        with self._lock:
            self._lines, self._saved = None, self._number
            self._parts.clear()

    def take(self) -> LogBatch | None:
        """What is not written yet."""
        with self._lock:
            self._is_noted = False
            lines = self._lines
            if not lines or self._saved == self._number:
                return None
            first = self._saved + 1
            new = [line for line in lines if line[0] >= first]
            self._saved = self._number
            return LogBatch(self._job_id, self._attempt, first, new, len(lines))

    def put_back(self, batch: LogBatch) -> None:
        """The batch was not written."""
        with self._lock:
            self._saved = min(self._saved, batch.first - 1)
            note, self._is_noted = not self._is_noted, True
        if note:
            self._note(self)

    @property
    def has_news(self) -> bool:
        """Whether something is not written yet."""
        return self._is_noted

    def _add(self, level: str, text: str) -> None:
        text = clean_text(text[:MAX_CHARACTERS])
        with self._lock:
            self._number += 1
            if self._lines is None:
                self._lines = deque()
            self._lines.append((self._number, time.time(), level, text))
            self._bytes += len(text.encode())
            while len(self._lines) > MAX_LINES or self._bytes > MAX_BYTES:
                self._bytes -= len(self._lines.popleft()[3].encode())
            note, self._is_noted = not self._is_noted, True
        if note:
            self._note(self)


CURRENT: ContextVar[AttemptLog | None] = ContextVar("headrace_attempt_log", default=None)
"""The attempt that runs here."""
