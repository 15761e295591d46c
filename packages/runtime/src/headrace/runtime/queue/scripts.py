"""The Lua scripts of this package: read once, called by their digest, loaded again when the server forgot them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, cast

from redis import exceptions as driver
from redis.asyncio import Redis

from headrace.runtime.queue.errors import translate

_INCLUDE = re.compile(r"^-- include: ([a-z_]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    """A script's whole text and the digest that Redis knows it by."""

    name: str
    source: str
    sha: str


@cache
def load(name: str) -> Script:
    """The script `lua/<name>.lua`, with each line `-- include: part` replaced by `lua/_part.lua`."""
    source = _INCLUDE.sub(lambda found: _read(f"_{found[1]}").rstrip("\n"), _read(name))
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


@cache
def names() -> tuple[str, ...]:
    """Every script that can be called, sorted."""
    files = (file.name for file in resources.files(__package__).joinpath("lua").iterdir())
    return tuple(sorted(name[:-4] for name in files if name.endswith(".lua") and not name.startswith("_")))


def _read(name: str) -> str:
    return resources.files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


async def run(redis: Redis, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
    """Run one script.

    Raises:
        StoreUnavailableError: Redis did not answer, or refused. What the script would have done is then unknown, and
            the same call may be made again: every script is safe to repeat.
    """
    script = load(name)
    with translate():
        try:
            return await _evalsha(redis, script, keys, args)
        except driver.NoScriptError:
            # A restart or SCRIPT FLUSH: the script did not run, so this is its first run, not a repeat.
            await redis.script_load(script.source)
            return await _evalsha(redis, script, keys, args)


async def _evalsha(redis: Redis, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> Any:
    return await cast("Any", redis.evalsha(script.sha, len(keys), *keys, *args))
