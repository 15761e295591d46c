"""Histories as JSON lines: one record a line, `{"record": KIND, fields...}`, in any order."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from . import history
from .history import History

KINDS: dict[str, tuple[str, type]] = {
    "operation": ("operations", history.Operation),
    "document": ("documents", history.Document),
    "observed": ("observed", history.Document),
    "effect": ("effects", history.Effect),
    "pending": ("pending", history.PendingSample),
    "planned": ("planned", history.PlannedFault),
    "fired": ("fired", history.FiredFault),
    "queue": ("queue_events", history.QueueEvent),
    "pool": ("pools", history.PoolIndex),
    "key": ("redis_keys", history.RedisKey),
    "process": ("processes", history.Process),
    "log": ("log_lines", history.LogLine),
    "canary": ("canary_hits", history.CanaryHit),
    "resource": ("resources", history.ResourceSample),
    "slow": ("slow_commands", history.SlowCommand),
    "probe": ("probes", history.Probe),
    "leader": ("leaders", history.Leader),
    "metric": ("metrics", history.Metric),
}
"""Kind of a line → field of the history and type of the record. `run` stands beside them."""


def to_line(kind: str, record: Any) -> str:
    """One record as a line, without its end."""
    values: dict[str, Any] = asdict(record)
    wanted: type = history.Run if kind == "run" else KINDS[kind][1]
    if type(record) is not wanted:
        raise TypeError(f"a line of kind {kind} holds {wanted.__name__}, not {type(record).__name__}")
    return json.dumps({"record": kind, **values}, separators=(",", ":"))


def to_lines(whole: History) -> Iterator[str]:
    """All lines of a history, the run first."""
    yield to_line("run", whole.run)
    for kind, (name, _) in KINDS.items():
        for record in getattr(whole, name):
            yield to_line(kind, record)


def from_lines(lines: Iterable[str]) -> History:
    """Read a history.

    Raises:
        ValueError: A line is not a record, its kind or a field is unknown, or there is not exactly one run.
    """
    found: dict[str, list[Any]] = {name: [] for name, _ in KINDS.values()}
    runs: list[history.Run] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        values = json.loads(line)
        kind = values.pop("record", None)
        try:
            if kind == "run":
                runs.append(_build(history.Run, values))
            else:
                name, record = KINDS[kind]
                found[name].append(_build(record, values))
        except (KeyError, TypeError) as error:
            raise ValueError(f"line {number}, record {kind!r}: {error}") from None
    if len(runs) != 1:
        raise ValueError(f"a history has one run, not {len(runs)}")
    return History(runs[0], **{name: tuple(records) for name, records in found.items()})


def save(whole: History, path: Path) -> None:
    """Write a history as a file."""
    path.write_text("".join(line + "\n" for line in to_lines(whole)), encoding="utf-8")


def load(path: Path) -> History:
    """Read a history's file; see `from_lines`."""
    with path.open(encoding="utf-8") as file:
        return from_lines(file)


@cache
def _hints(record: type) -> dict[str, Any]:
    return typing.get_type_hints(record)


def _build(record: type, values: dict[str, Any]) -> Any:
    hints = _hints(record)
    unknown = values.keys() - {each.name for each in fields(record)}
    if unknown:
        raise TypeError(f"unknown fields {sorted(unknown)}")
    return record(**{name: _value(hints[name], value) for name, value in values.items()})


def _value(hint: Any, value: Any) -> Any:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # X | None is the only one here
        return None if value is None else _value(parts[0], value)
    if origin is tuple:
        each = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
        return tuple(_value(part, item) for part, item in zip(each, value, strict=True))
    if is_dataclass(hint):
        return _build(typing.cast("type", hint), value)
    return value
