"""Restart the services whose code has changed, in order and one set at a time.

Looking at some four hundred files takes a few milliseconds, so they are looked at twice a second; no watcher of the
kernel, which would need a dependency and differs between systems.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from headrace.contracts.executor import ENTRY_POINT_GROUP
from headrace.local.foreground import say
from headrace.local.service import ServiceFailedError
from headrace.local.system import SERVICES, LocalSystem

_LOOK_SECONDS = 0.5
_COMPILED = {".pyc", ".pyo"}
Marks = dict[Path, tuple[int, int]]


def watched() -> dict[Path, frozenset[str]]:
    """Folders (or single files) of code → the services that run it.

    Executors of other distributions are the worker's. Nothing is imported to find them.
    """
    everyone = frozenset(spec.name for spec in SERVICES)
    found: dict[Path, frozenset[str]] = {}
    for member in ("contracts", "runtime"):
        found.update(dict.fromkeys(_places(f"headrace.{member}"), everyone))
    for name in everyone:
        found.update(dict.fromkeys(_places(f"headrace.{name}"), frozenset({name})))
    for point in entry_points(group=ENTRY_POINT_GROUP):
        top = point.module.partition(".")[0]
        if top != "headrace":
            found.update(dict.fromkeys(_places(top), frozenset({"worker"})))
    return found


def _places(module: str) -> list[Path]:
    spec = find_spec(module)
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [Path(place) for place in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin else []


def look(places: Mapping[Path, frozenset[str]]) -> Marks:
    """Every file below these places → its time and size."""
    marks: Marks = {}
    for place in places:
        for file in [place] if place.is_file() else place.rglob("*"):
            if file.suffix in _COMPILED:
                continue
            try:
                status = file.stat()
            except OSError:
                continue  # an editor replaces files; the next look sees the new one
            if not file.is_dir():
                marks[file] = (status.st_mtime_ns, status.st_size)
    return marks


async def run_reloading(system: LocalSystem, console: Console, places: Mapping[Path, frozenset[str]]) -> None:
    """Follow the code for ever. A service that ends by itself is told once, and started again at its next change.

    Raises:
        ServiceFailedError: A store has ended.
    """
    down: set[str] = set()
    before = await asyncio.to_thread(look, places)
    say(console, f"Following {len(before)} files.")
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        system.check_stores()
        for name, service in system.services.items():
            if service.exit_code is not None and name not in down:
                down.add(name)
                say(console, f"{service.failure()}\nIt is started again when its code changes.")
        now = await asyncio.to_thread(look, places)
        if now == before:
            continue
        while (settled := await _later(places)) != now:  # a whole checkout is one change
            now = settled
        changed = sorted(file for file in before.keys() | now.keys() if before.get(file) != now.get(file))
        before = now
        names = frozenset[str]().union(*(places[place] for file in changed for place in places if _is_in(file, place)))
        down -= names
        await _restart(system, console, names, changed)


async def _later(places: Mapping[Path, frozenset[str]]) -> Marks:
    await asyncio.sleep(_LOOK_SECONDS / 2)
    return await asyncio.to_thread(look, places)


def _is_in(file: Path, place: Path) -> bool:
    return file == place or place in file.parents


async def _restart(system: LocalSystem, console: Console, names: frozenset[str], changed: list[Path]) -> None:
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    shown = ", ".join(sorted(names))
    say(console, f"{changed[0].name}{more} changed: restarting {shown}")
    began = time.monotonic()
    await system.restart(names)
    try:
        await system.wait_ready(names)
    except ServiceFailedError as error:
        if all(system.services[name].exit_code is None for name in names):
            say(console, str(error))  # alive and never ready; one that has ended is told by the loop
        return
    say(console, f"Ready after {time.monotonic() - began:.1f} s: {shown}")
