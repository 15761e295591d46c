"""What the product reaches for in its process, replaced by the simulation's: clocks, dice, names, logs, drivers.

Modules of `headrace` alone are touched, and given back afterwards: other tests of this process see the real ones.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import isfunction
from types import ModuleType
from typing import TYPE_CHECKING, Any

import uuid_utils

from headrace.runtime.queue.client import redis_client
from headrace.runtime.store import mongo_driver

from .loop import ACTOR

if TYPE_CHECKING:
    from .simulation import Simulation

_current: list[Simulation] = []


def simulation() -> Simulation:
    """The one that runs now."""
    return _current[-1]


@contextmanager
def running(sim: Simulation) -> Iterator[None]:
    """Let the patched modules see this one."""
    _current.append(sim)
    try:
        yield
    finally:
        _current.pop()


class ProcessEnded(BaseException):
    """Raised where the product would have ended its process."""


class _Time:
    """`time`."""

    @staticmethod
    def monotonic() -> float:
        return _current[-1].loop._now

    perf_counter = monotonic

    @staticmethod
    def time() -> float:
        return _current[-1].wall_seconds()


class _Random:
    """`random`."""

    @staticmethod
    def random() -> float:
        return _current[-1].product_dice.random()

    @staticmethod
    def uniform(low: float, high: float) -> float:
        return _current[-1].product_dice.uniform(low, high)


class _Secrets:
    """`secrets`."""

    @staticmethod
    def token_hex(count: int) -> str:
        return f"{_current[-1].product_dice.getrandbits(8 * count):0{2 * count}x}"


class _Uuids:
    """`uuid_utils`."""

    @staticmethod
    def uuid7() -> str:
        return _current[-1].new_job_id()


class _Os:
    """`os`, for a child that ends itself."""

    @staticmethod
    def _exit(code: int) -> None:
        _current[-1].exit(ACTOR.get(), code)
        raise ProcessEnded


class _Log:
    """A logger that writes into the trace, when there is one."""

    def __init__(self, fields: dict[str, Any] | None = None) -> None:
        self._fields = fields or {}

    def bind(self, **fields: Any) -> _Log:
        return _Log(self._fields | fields)

    def debug(self, event: str, **fields: Any) -> None:
        """Nothing."""

    def info(self, event: str, **fields: Any) -> None:
        if _current and _current[-1].is_verbose:
            _current[-1].tell(f"      {ACTOR.get():16} {event} {self._fields | fields}")

    warning = error = info

    def exception(self, event: str, **fields: Any) -> None:
        _current[-1].unexpected.append(f"{ACTOR.get()}: {event} {sys.exc_info()[1]!r}")
        self.info(event, **fields)


class _DriverModule:
    """`mongo_driver`."""

    AwareDocument = mongo_driver.AwareDocument

    @staticmethod
    def connect(url: str, **options: Any) -> None:
        return None

    @staticmethod
    def database(client: Any, name: str) -> Any:
        return _current[-1].mongo_handle()

    @staticmethod
    def close(client: Any) -> None:
        return None


def _redis_client(url: Any, *, kind: str, name: str, answer_seconds: float = 2.0, **options: Any) -> Any:
    return _current[-1].redis_client(answer_seconds)


_REPLACED: tuple[tuple[str, Any, Any], ...] = (
    ("time", time, _Time),
    ("random", random, _Random),
    ("secrets", secrets, _Secrets),
    ("uuid_utils", uuid_utils, _Uuids),
    ("mongo_driver", mongo_driver, _DriverModule),
    ("redis_client", redis_client, _redis_client),
)
_CLOCKS: dict[Any, Callable[[], float]] = {
    time.monotonic: _Time.monotonic,
    time.perf_counter: _Time.monotonic,
    time.time: _Time.time,
}
_DIE_BY_THEMSELVES = ("headrace.worker.child_end",)


@contextmanager
def installed(others: Sequence[tuple[ModuleType, str, Any]] = ()) -> Iterator[None]:
    """Patch every imported module of `headrace`, and these names besides."""
    undo: list[Callable[[], None]] = []
    for name, module in sorted(sys.modules.items()):
        if name.startswith("headrace."):
            _patch(module, undo)
    for module, name, ours in others:
        _put(module, name, ours, undo)
    try:
        yield
    finally:
        for step in reversed(undo):
            step()


def _patch(module: ModuleType, undo: list[Callable[[], None]]) -> None:
    for name, real, ours in _REPLACED:
        if getattr(module, name, None) is real:
            _put(module, name, ours, undo)
    if hasattr(module, "log") and hasattr(module.log, "bind"):
        _put(module, "log", _Log(), undo)
    if module.__name__ in _DIE_BY_THEMSELVES:
        assert module.os is os
        _put(module, "os", _Os, undo)
    for found in list(vars(module).values()):
        if isinstance(found, type) and found.__module__ == module.__name__:
            for method in vars(found).values():
                _patch_defaults(method, undo)
        else:
            _patch_defaults(found, undo)


def _put(module: ModuleType, name: str, value: Any, undo: list[Callable[[], None]]) -> None:
    before = getattr(module, name)
    setattr(module, name, value)
    undo.append(lambda: setattr(module, name, before))


def _patch_defaults(found: Any, undo: list[Callable[[], None]]) -> None:
    """Clocks that are the default of an argument were looked up when the function was made."""
    defaults = getattr(found, "__kwdefaults__", None) if isfunction(found) else None
    for name, value in list((defaults or {}).items()):
        if isinstance(value, type(time.monotonic)) and value in _CLOCKS:
            defaults[name] = _CLOCKS[value]
            undo.append(lambda defaults=defaults, name=name, value=value: defaults.__setitem__(name, value))
    positional = getattr(found, "__defaults__", None) if isfunction(found) else None
    if positional and any(isinstance(value, type(time.monotonic)) and value in _CLOCKS for value in positional):
        found.__defaults__ = tuple(_CLOCKS.get(value, value) if callable(value) else value for value in positional)
        undo.append(lambda: setattr(found, "__defaults__", positional))
