"""A Redis that is a few dicts: its values, its clock, its run, and our scripts in plain Python.

The scripts are written anew here, from what their headers promise and not from their Lua, so that each is a check of
the other: `test_same_as_redis.py` compares them call by call.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions

from headrace.runtime.queue import scripts

from .redis_scripts import SCRIPTS, Zset

_NAMES = {scripts.load(name).sha: name for name in SCRIPTS}


class RedisModel:
    """The server.

    Args:
        clock_us: Microseconds since 1970.
        dice: Names the runs.
    """

    def __init__(self, clock_us: Callable[[], int], dice: random.Random) -> None:
        self._clock_us = clock_us
        self._dice = dice
        self.values: dict[str, Any] = {}
        self._expires: dict[str, int] = {}
        self._loaded: set[str] = set()
        self.run_id = ""
        self.publish: Callable[[str, str], None] = lambda channel, text: None
        self.restart({})

    # -- what may happen to it ---------------------------------------------------------------------------------

    def restart(self, values: dict[str, Any] | None = None) -> None:
        """A new run, with its data or with others; it has forgotten every script."""
        if values is not None:
            self.values = copy.deepcopy(values)
            self._expires = {name: at for name, at in self._expires.items() if name in self.values}
        self._loaded.clear()
        self.run_id = f"{self._dice.getrandbits(160):040x}"

    def flush(self) -> None:
        """Lose everything and go on."""
        self.values, self._expires = {}, {}

    def copy_of_data(self) -> dict[str, Any]:
        """What a snapshot would keep."""
        return copy.deepcopy(self.values)

    # -- commands ----------------------------------------------------------------------------------------------

    def evalsha(self, sha: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Run a script."""
        name = _NAMES.get(sha)
        if name is None or sha not in self._loaded:
            raise exceptions.NoScriptError("NOSCRIPT No matching script. Please use EVAL.")
        self._expire()
        return SCRIPTS[name](self, list(keys), [str(arg) for arg in args])

    def name_of(self, sha: str) -> str:
        """The script with this digest."""
        return _NAMES.get(sha, "unknown")

    def script_load(self, source: str) -> str:
        """Learn a script."""
        sha = next(script.sha for script in map(scripts.load, SCRIPTS) if script.source == source)
        self._loaded.add(sha)
        return sha

    def zset(self, key: str) -> Zset:
        """A sorted set, made when it is first asked for."""
        found: Zset = self.values.setdefault(key, {})
        return found

    def hash(self, key: str) -> dict[str, str]:
        """A hash, made when it is first asked for."""
        found: dict[str, str] = self.values.setdefault(key, {})
        return found

    def now_us(self) -> int:
        """The server's clock."""
        return self._clock_us()

    @property
    def now(self) -> int:
        """The server's clock in milliseconds."""
        return self._clock_us() // 1000

    def keep_until(self, key: str, at_ms: int) -> None:
        """Let a key expire."""
        self._expires[key] = at_ms

    def _expire(self) -> None:
        now = self.now
        for key in [key for key, at in self._expires.items() if at <= now]:
            self.values.pop(key, None)
            del self._expires[key]
