"""What Redis did to the pools, in its own order, as its MONITOR tells it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.local.ports import LOOPBACK

from .history import QueueEvent
from .recorder import Recorder

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')
_LINE = re.compile(r"\+?(?P<at>\d+\.\d+) \[\d+ (?P<source>[^\]]*)\] (?P<words>.*)")
_POOL_KEY = re.compile(r"[^:]+:\{(?P<pool>[^_}][^}]*)\}:(?P<part>.+)")
_OPTIONS = frozenset({"NX", "XX", "GT", "LT", "CH"})


@dataclass
class _Pool:
    ready: dict[str, float] = field(default_factory=dict)
    popped: dict[str, float] = field(default_factory=dict)
    """By the claim under way."""
    token: str = ""


class Reader:
    """Turns MONITOR's lines into events. It repeats what the commands do to the ready ids, so it must see all."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._pools: dict[str, _Pool] = {}
        self._order = 0
        self.lines = 0

    def take(self, line: str) -> None:
        """One line."""
        match = _LINE.match(line)
        if match is None:
            return
        self.lines += 1
        words = _WORD.findall(match["words"])
        at = self._recorder.clock.of_wall(float(match["at"])) or 0.0
        verb = words[0].upper() if words else ""
        if verb in {"FLUSHALL", "FLUSHDB"}:
            self.lose(at)
        elif verb in {"EVALSHA", "EVAL"}:
            self._begin_script(words, at)
        elif len(words) > 1 and (key := _POOL_KEY.fullmatch(words[1])) is not None:
            self._command(at, verb, key["pool"], key["part"], words[2:])

    def lose(self, at: float) -> None:
        """Nothing is known any more."""
        for name in self._pools or {"test": _Pool()}:
            self._add(at, name, "lost")
        self._pools = {name: _Pool() for name in self._pools}

    def _begin_script(self, words: Sequence[str], at: float) -> None:
        for name, pool in self._pools.items():
            for job_id, place in pool.popped.items():  # popped, and not put into flight: nobody's id
                self._add(at, name, "left", job_id, place)
            pool.popped = {}
            pool.token = ""
        for word in words[3:]:
            key = _POOL_KEY.fullmatch(word)
            if key is not None and key["part"].startswith("claim:"):
                self._pool(key["pool"]).token = key["part"].removeprefix("claim:")

    def _command(self, at: float, verb: str, name: str, part: str, rest: Sequence[str]) -> None:
        pool = self._pool(name)
        if part == "epoch" and verb == "SET":
            self._add(at, name, "complete")
        elif part == "inflight" and verb == "ZADD" and pool.popped:
            flown = _pairs(rest)
            if flown.keys() - pool.popped.keys():  # ids that came before MONITOR did: those we took were not popped
                for job_id in pool.popped.keys() - flown.keys():
                    pool.ready[job_id] = pool.popped.pop(job_id)
            for job_id in flown:
                place = pool.popped.pop(job_id, pool.ready.pop(job_id, None))
                self._add(at, name, "claimed", job_id, place, pool.token)
        elif part == "ready":
            self._ready(at, verb, name, pool, rest)

    def _ready(self, at: float, verb: str, name: str, pool: _Pool, rest: Sequence[str]) -> None:
        if verb == "ZADD":
            only_new = "NX" in rest[:3]
            for job_id, place in _pairs(rest).items():
                if not (only_new and job_id in pool.ready):
                    pool.ready[job_id] = place
                    self._add(at, name, "ready", job_id, place)
        elif verb == "ZREM":
            for job_id in rest:
                if job_id in pool.ready:
                    self._add(at, name, "left", job_id, pool.ready.pop(job_id))
        elif verb in {"ZPOPMIN", "ZPOPMAX"}:  # the second is no command of ours, unless somebody broke the script
            count = int(rest[0]) if rest else 1
            ordered = sorted(pool.ready.items(), key=lambda item: (item[1], item[0].encode()))
            first = (ordered if verb == "ZPOPMIN" else ordered[::-1])[:count]
            pool.popped.update(first)
            for job_id, _ in first:
                del pool.ready[job_id]
        elif verb == "DEL":
            for job_id, place in pool.ready.items():
                self._add(at, name, "left", job_id, place)
            pool.ready = {}

    def _pool(self, name: str) -> _Pool:
        return self._pools.setdefault(name, _Pool())

    def _add(
        self, at: float, pool: str, kind: str, job_id: str = "", place: float | None = None, call: str = ""
    ) -> None:
        self._order += 1
        self._recorder.add("queue", QueueEvent(self._order, at, pool, kind, job_id, place, call))


def _pairs(words: Sequence[str]) -> dict[str, float]:
    """Member → score of a ZADD's arguments."""
    words = [word for word in words if word.upper() not in _OPTIONS]
    return {member: float(score) for score, member in zip(words[::2], words[1::2], strict=False)}


async def watch_redis(reader: Reader, *, port: int, password: str) -> None:
    """Follow MONITOR until cancelled, over restarts of the server."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            stream, writer = await asyncio.open_connection(LOOPBACK, port, limit=1 << 24)
            try:
                writer.write(f"AUTH {password}\r\nCLIENT SETNAME chaos-monitor\r\nMONITOR\r\n".encode())
                while line := await stream.readline():
                    reader.take(line.decode(errors="replace").rstrip())
            finally:
                writer.close()
        reader.lose(reader._recorder.clock.now())
        await asyncio.sleep(0.02)
