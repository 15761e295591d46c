"""Places where a test may make the real process fail: die, freeze, wait or raise.

Off unless `JOB_FAILPOINTS` is set (and that is refused unless `JOB_TEST_MODE=1`); then a call costs one `None` test.
The form is `name=action[,modifier…][;name=action…]`:

- actions: `exit137` (die at once, as by SIGKILL), `stop` (freeze, as by SIGSTOP), `sleep:MS`, `error:TYPE`
  (a class of `headrace.contracts.errors` or a built-in exception);
- modifiers: `once`, `nth:3` (only the third time), `p:0.1@7` (each time with this probability, from this seed).

Or the form is `@FOLDER`: failpoints that are armed while the process runs. Who passes one for which the folder has a
file of that name takes the file away and does what it says, so it fires once in all processes that share the folder;
the file `NAME.PID.NS.fired` that stays says who took it and when (monotonic nanoseconds).
"""

from __future__ import annotations

import asyncio
import builtins
import os
import random
import re
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.contracts import errors
from headrace.contracts.errors import ConfigError

_MODIFIER = re.compile(r"once|nth:(?P<nth>[0-9]+)|p:(?P<chance>[01](\.[0-9]+)?)(@(?P<seed>[0-9]+))?")

_points: Mapping[str, _Point] | _Folder | None = None


@dataclass
class _Point:
    action: str
    value: str
    nth: int | None = None
    chance: float | None = None
    dice: random.Random = field(default_factory=random.Random)
    passed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_due(self) -> bool:
        with self.lock:
            self.passed += 1
            if self.nth is not None and self.passed != self.nth:
                return False
            return self.chance is None or self.dice.random() < self.chance


class _Folder:
    """Failpoints as files; see the module."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, name: str) -> _Point | None:
        """The failpoint, if it is armed and nobody else took it first."""
        taken = self._path / f"{name}.{os.getpid()}.{time.monotonic_ns()}.fired"
        try:
            (self._path / name).rename(taken)
        except FileNotFoundError:
            return None
        return _parse(name, taken.read_text(encoding="utf-8").strip())


def install(spec: str) -> None:
    """Arm the failpoints of `spec`; an empty text disarms all.

    Raises:
        ConfigError: The text does not follow the form, or its folder does not exist.
    """
    global _points  # noqa: PLW0603 -- a failpoint must be reachable from every line without being handed around
    if spec.startswith("@"):
        folder = Path(spec[1:])
        if not folder.is_dir():
            raise ConfigError("JOB_FAILPOINTS: the folder after @ does not exist")
        _points = _Folder(folder)
        return
    points = {}
    for part in filter(None, (part.strip() for part in spec.split(";"))):
        name, _, rule = part.partition("=")
        points[name.strip()] = _parse(name.strip(), rule.strip())
    _points = points or None


def fp(name: str) -> None:
    """Pass the failpoint `name` in plain code; does nothing unless it is armed."""
    if _points is None:
        return
    point = _points.get(name)
    if point is not None and point.is_due():
        if point.action == "sleep":
            time.sleep(float(point.value) / 1000)
        else:
            _act(name, point)


async def afp(name: str) -> None:
    """Pass the failpoint `name` in a coroutine; `sleep` holds up this coroutine only."""
    if _points is None:
        return
    point = _points.get(name)
    if point is not None and point.is_due():
        if point.action == "sleep":
            await asyncio.sleep(float(point.value) / 1000)
        else:
            _act(name, point)


def _act(name: str, point: _Point) -> None:
    if point.action == "exit137":
        os._exit(137)
    if point.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
        return
    raise (_error_class(point.value) or RuntimeError)(f"failpoint {name}")


def _parse(name: str, rule: str) -> _Point:
    action, *modifiers = [part.strip() for part in rule.split(",")]
    word, _, value = action.partition(":")
    if not name or word not in {"exit137", "stop", "sleep", "error"}:
        raise ConfigError(
            f"JOB_FAILPOINTS: {name or '(no name)'}: the action must be exit137, stop, sleep:MS or error:TYPE"
        )
    if word == "sleep" and not value.isdigit():
        raise ConfigError(f"JOB_FAILPOINTS: {name}: sleep needs whole milliseconds, as in sleep:250")
    if word == "error" and _error_class(value) is None:
        raise ConfigError(f"JOB_FAILPOINTS: {name}: error needs an exception of headrace.contracts.errors or Python")
    point = _Point(action=word, value=value)
    for modifier in modifiers:
        _modify(name, point, modifier)
    return point


def _modify(name: str, point: _Point, modifier: str) -> None:
    match = _MODIFIER.fullmatch(modifier)
    if match is None:
        raise ConfigError(f"JOB_FAILPOINTS: {name}: a modifier must be once, nth:N or p:CHANCE@SEED")
    if match["chance"]:
        point.chance = float(match["chance"])
        point.dice = random.Random(int(match["seed"])) if match["seed"] else random.Random()
    else:
        point.nth = int(match["nth"] or 1)


def _error_class(name: str) -> type[Exception] | None:
    found = getattr(errors, name, None) or getattr(builtins, name, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None
