"""Where a job speaks: its logger, `print` and the standard `logging`, led to the lines of the attempt that runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from headrace.worker.attempt_log import CURRENT, AttemptLog


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
