"""What jobs print and log, kept with them: the last lines of each attempt, written in batches.

Which job speaks is known from a context variable, which tasks inherit and threads have for themselves: jobs that run at
the same time do not mix. A thread that an executor starts by itself belongs to no job, unless it copies its context.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.job import Job
from headrace.runtime.store.job_logs import JobLogs, LogBatch
from headrace.worker.outcome import clean_text

MAX_LINES = 500
MAX_BYTES = 64 * 1024
MAX_CHARACTERS = 4000
"""Of one line; the rest of it is cut off."""
BATCH = 100
MAX_UNSAVED = 2000
"""Attempts whose lines wait for MongoDB. The oldest lose theirs then: a job's end does not wait for its log."""
WRITE_SECONDS = 1.0
GATHER_SECONDS = 0.05

log = structlog.get_logger(__name__)

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


class JobLogger:
    """`JobLog` for one attempt: to the service's log, at its level, and to the job's own lines, at every level."""

    __slots__ = ("_fields", "_lines", "_logger")

    def __init__(self, lines: AttemptLog | None, logger: Any, fields: dict[str, Any] | None = None) -> None:
        self._lines = lines
        self._logger = logger
        self._fields = fields or {}

    def bind(self, **fields: Any) -> JobLogger:
        """A logger whose lines carry these too."""
        return JobLogger(self._lines, self._logger.bind(**fields), {**self._fields, **fields})

    def debug(self, event: str, **fields: Any) -> None:
        """See `JobLog.debug`."""
        self._say("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """See `JobLog.info`."""
        self._say("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """See `JobLog.warning`."""
        self._say("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """See `JobLog.error`."""
        self._say("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """`error`, with the exception that is being handled."""
        self._say("error", event, {"exc_info": True, **fields})

    def _say(self, level: str, event: str, fields: dict[str, Any]) -> None:
        token = CURRENT.set(None)  # the service's own line is no output of the job
        try:
            getattr(self._logger, level)(event, **fields)
        finally:
            CURRENT.reset(token)
        if self._lines is None:
            return
        shown = {**self._fields, **fields}
        if shown.pop("exc_info", None):
            shown["error"] = sys.exc_info()[1]
        self._lines.say(level, " ".join([str(event), *(f"{name}={_text(value)}" for name, value in shown.items())]))


def _text(value: Any) -> str:
    try:
        return value if isinstance(value, str) else repr(value)
    except Exception as error:  # noqa: BLE001 -- somebody else's code; a log call never raises
        return f"<{type(error).__name__}>"


class JobLogWriter:
    """Writes the lines of one child's jobs, about once a second and when a job ends. Runs on the event loop."""

    def __init__(self, store: JobLogs, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop
        self._waiting: deque[AttemptLog] = deque()
        self._wake = asyncio.Event()
        self._told = False
        self._stopping = False

    def open(self, job: Job) -> AttemptLog:
        """Where an attempt's lines go. From any thread."""
        return AttemptLog(job, self._waiting.append)

    def close(self, lines: AttemptLog, *, counts: bool = True) -> None:
        """The attempt is over. From any thread.

        Args:
            lines: Its lines.
            counts: False: it was taken from this child; what is not written yet is forgotten.
        """
        if not counts:
            lines.discard()
            return
        lines.end()
        if lines.has_news:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Write until stopped."""
        while not self._stopping:
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._wake.wait()
                await asyncio.sleep(GATHER_SECONDS)  # one write for the jobs of a moment
            except TimeoutError:
                pass
            self._wake.clear()
            await self.flush()

    def stop(self) -> None:
        """End `run`. What is left is written by one more `flush`."""
        self._stopping = True
        self._wake.set()

    async def flush(self) -> None:
        """Write what waits. Never raises."""
        while len(self._waiting) > MAX_UNSAVED:
            self._waiting.popleft().discard()
        for _ in range(len(self._waiting) // BATCH + 1):
            logs = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            taken = [(lines, batch) for lines in logs if (batch := lines.take()) is not None]
            if not taken or not await self._write(taken):
                return

    async def _write(self, taken: list[tuple[AttemptLog, LogBatch]]) -> bool:
        try:
            await self._store.append([batch for _, batch in taken])
        except StoreUnavailableError as error:
            for lines, batch in taken:
                lines.put_back(batch)
            if not self._told:
                log.warning("job_logs.waiting_for_store", detail=str(error))
            self._told = True
            return False
        except Exception:
            log.exception("job_logs.not_written", attempts=len(taken))
        self._told = False
        return True


class _Stream:
    """Stands for `sys.stdout` or `sys.stderr`: what a job writes goes to its lines, the rest where it went before."""

    def __init__(self, uncaptured: Any, level: str) -> None:
        self.uncaptured = uncaptured
        self._level = level

    def write(self, text: str) -> int:
        lines = CURRENT.get()
        if lines is None:
            return int(self.uncaptured.write(text))
        lines.write(self._level, text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.uncaptured, name)


class _Records(logging.Handler):
    """What a job's libraries say through the standard `logging`."""

    def emit(self, record: logging.LogRecord) -> None:
        lines = CURRENT.get()
        if lines is not None:
            try:
                text = record.getMessage()
            except (TypeError, ValueError):
                text = str(record.msg)
            lines.say(record.levelname.lower(), f"{record.name}: {text}")


def capture_output() -> Callable[[], None]:
    """Let print() and `logging` of jobs reach their lines, in this whole process. Returns what undoes it."""
    streams: tuple[Any, Any] = (sys.stdout, sys.stderr)
    stdout: Any = _Stream(sys.stdout, "stdout")
    stderr: Any = _Stream(sys.stderr, "stderr")
    records = _Records()
    sys.stdout, sys.stderr = stdout, stderr
    logging.getLogger().addHandler(records)

    def undo() -> None:
        sys.stdout, sys.stderr = streams
        logging.getLogger().removeHandler(records)

    return undo
