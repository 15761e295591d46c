"""How one event becomes one line."""

from __future__ import annotations

import json
import re

from structlog.typing import EventDict

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROLS_BUT_LINES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FIRST = ("at", "level", "event", "logger", "service")


def json_line(event: EventDict) -> str:
    """The event as one line of ASCII JSON: no control character survives, whatever a client sent."""
    ordered = {name: event.pop(name) for name in _FIRST if name in event} | dict(event)
    try:
        line = json.dumps(ordered, default=str)
    except (TypeError, ValueError, RecursionError):
        # Odd keys, circles or a `__str__` that fails: a worse line is better than a lost one.
        line = json.dumps({str(name): _safe_repr(value) for name, value in ordered.items()})
    # The one control character that JSON lets through.
    return line.replace("\x7f", "\\u007f")


def console_line(event: EventDict) -> str:
    """The event for a person: time, level, name, then `key=value`; a traceback follows on its own lines."""
    at, level, name = event.pop("at", ""), event.pop("level", ""), event.pop("event", "")
    trace = event.pop("exception", None)
    for hidden in ("service", "logger"):
        event.pop(hidden, None)
    fields = " ".join(f"{key}={_safe_repr(value)}" for key, value in event.items())
    line = _escape(f"{at} {level:<7} {name} {fields}".rstrip(), _CONTROLS)
    return line if trace is None else f"{line}\n{_escape(str(trace), _CONTROLS_BUT_LINES)}"


def _escape(text: str, pattern: re.Pattern[str]) -> str:
    return pattern.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _safe_repr(value: object) -> str:
    try:
        return repr(value) if isinstance(value, str | bytes | int | float | list | tuple | dict | None) else str(value)
    except Exception as error:  # noqa: BLE001 -- foreign code runs here, and a log call must not raise
        return f"<unprintable {type(value).__name__}: {type(error).__name__}>"
