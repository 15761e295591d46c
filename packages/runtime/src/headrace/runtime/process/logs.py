"""Logs: one line per event on stderr, whoever speaks.

Our own code logs through structlog; what libraries say through the standard `logging` goes the same way, as the
event `library.log` with their text as `message`. A log call never raises and never breaks the line.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from headrace.contracts.config import JobConfig
from headrace.runtime.process.log_lines import console_line, json_line

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

QUIET: Final = {
    # Its debug lines carry whole commands, and with them payloads.
    "pymongo": logging.WARNING,
    # One structured line per request is written by the web layer.
    "aiohttp.access": logging.CRITICAL,
    # Every loop says which selector it uses.
    "asyncio": logging.WARNING,
}

_URL_SECRET = re.compile(r"""(://)[^\s/?#"']*@""")
_QUERY_SECRET = re.compile(
    r"""([?&](?:password|passwd|pwd|token|secret|authMechanismProperties)=)[^\s&"']*""", re.IGNORECASE
)


def redact_url(url: str) -> str:
    """The text with the user information and the secret query values of every URL in it replaced by `***`."""
    if "://" not in url:
        return url
    return _QUERY_SECRET.sub(r"\1***", _URL_SECRET.sub(r"\1***@", url))


def configure_logging(config: JobConfig, *, service: str) -> None:
    """Send every log event of this process to stderr.

    The line is JSON with `at` (UTC), `level`, `event`, `logger` and `service`, or text for a person with
    `JOB_LOG_FORMAT=console`. Control characters are escaped, and passwords in URLs are blotted out, in both forms.

    Args:
        config: `log_level` and `log_format` are used.
        service: The name every line carries.
    """
    level = LEVELS[config.log_level]
    render = json_line if config.log_format == "json" else console_line
    structlog.configure(
        processors=_processors(service, render),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_StderrLogger,
        # A cached logger would keep the first configuration of the process for ever.
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Bridge()]
    root.setLevel(level)
    for name, floor in QUIET.items():
        logging.getLogger(name).setLevel(max(floor, level))
    server = logging.getLogger("aiohttp.server")
    server.filters = [_without_parser_tracebacks]
    logging.captureWarnings(capture=True)


def _processors(service: str, render: Callable[[EventDict], str]) -> list[Processor]:
    def add_origin(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("logger", logger.name)
        event["service"] = service
        return event

    def to_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
        return redact_url(render(event))

    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        add_origin,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
        to_line,
    ]


class _StderrLogger:
    """Writes one line to what `sys.stderr` is now. A closed or full stderr must not stop a job."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        try:
            # One write per line, so that lines of threads and children do not mix.
            # A worker child keeps what jobs write to stderr with them; this line is not theirs.
            stream = getattr(sys.stderr, "uncaptured", sys.stderr)
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = warn = error = exception = critical = fatal = log = msg


class _Bridge(logging.Handler):
    """Hands what libraries log to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = max((known for known in LEVELS.values() if known <= record.levelno), default=logging.DEBUG)
        fields: dict[str, Any] = {"logger": record.name, "message": _message(record)}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        structlog.get_logger(record.name).log(level, "library.log", **fields)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return str(record.msg)


def _without_parser_tracebacks(record: logging.LogRecord) -> bool:
    """Keep the line of a malformed request, at debug, without its traceback: any port scan writes thousands."""
    # Imported late: a process without a web server must not pay for aiohttp.
    from aiohttp.http_exceptions import HttpProcessingError

    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, HttpProcessingError):
        return True
    record.exc_info = None
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    record.msg, record.args = f"malformed request refused: {type(error).__name__}", ()
    return logging.getLogger().isEnabledFor(logging.DEBUG)
