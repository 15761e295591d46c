"""Reads what is left when everything is quiet: documents, Redis, effects, logs, and secrets where none should be."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from .documents import to_document
from .history import CanaryHit, Effect, LogLine, Metric, PoolIndex, RedisKey, SlowCommand
from .parts import KEYS, POOL
from .recorder import Recorder
from .stack import Stack
from .watchers import Watchers

TOLD = frozenset({"settle.fenced", "audit.lost", "child.declared_dead"})
_LAST_LINE = re.compile(r"^(?:[\w.]+\.)?(?P<name>[A-Za-z_]\w*)(?::|$)")


async def read_stores(stack: Stack, watchers: Watchers) -> None:
    """Documents and Redis, as they are now."""
    recorder = stack.recorder
    asked = recorder.clock.now()
    async for stored in watchers.database.jobs.find({}):
        recorder.add("document", to_document(stored, clock=recorder.clock, read_at=asked))
    recorder.add("pool", await _pool_index(watchers, asked))
    await _redis_keys(stack, watchers)
    for entry in await watchers.redis.slowlog_get(1000):
        command = entry["command"]
        text = command.decode(errors="replace") if isinstance(command, bytes) else str(command)
        recorder.add("slow", SlowCommand(recorder.clock.of_wall(entry["start_time"]) or 0.0, entry["duration"], text))


async def _pool_index(watchers: Watchers, asked: float) -> PoolIndex:
    redis = watchers.redis

    async def members(key: str) -> tuple[tuple[str, float], ...]:
        return tuple((name, score) for name, score in await redis.zrange(key, 0, -1, withscores=True))

    return PoolIndex(
        pool=POOL,
        at=asked,
        complete=await watchers.queue.is_complete(POOL),
        ready=await members(KEYS.ready),
        delayed=await members(KEYS.delayed),
        inflight=await members(KEYS.inflight),
        reserved=await members(KEYS.reserved),
        holders=await redis.hgetall(KEYS.holder),
        scores={name: float(score) for name, score in (await redis.hgetall(KEYS.score)).items()},
    )


async def _redis_keys(stack: Stack, watchers: Watchers) -> None:
    recorder, redis = stack.recorder, watchers.redis
    canaries = [text for text in canaries_of(stack) if text.startswith("payload:")]
    async for key in redis.scan_iter(count=1000):
        kind = await redis.type(key)
        if kind == "none":
            continue  # its time came between the two questions
        ttl = await redis.pttl(key)
        recorder.add("key", RedisKey(key, kind, await redis.memory_usage(key) or 0, ttl if ttl >= 0 else None))
        raw = repr(await redis.dump(key))
        for canary in canaries:
            if canary in raw or canary in key:
                recorder.add("canary", CanaryHit(f"redis:{key}", canary))


def canaries_of(stack: Stack) -> tuple[str, ...]:
    """Texts that may not show up where they do not belong."""
    return (f"payload:canary-{stack.database}", stack.redis.password)


async def read_metrics(stack: Stack) -> None:
    """What every service shows, once."""
    recorder = stack.recorder
    for part in stack.parts.values():
        for (name, labels), value in (await stack.metrics(part)).items():
            if name.startswith("job_"):
                recorder.add("metric", Metric(recorder.clock.now(), part.name, name, value, dict(labels)))


def look_at_arguments(stack: Stack) -> None:
    """No secret may stand in the arguments of a process, where every user of the machine can read it."""
    pids = {part.pid: part.name for part in stack.parts.values() if part.pids}
    pids |= {child.pid: f"{child.part}/child" for child in stack.children.values()}
    for pid, name in pids.items():
        with contextlib.suppress(psutil.Error):
            line = " ".join(psutil.Process(pid).cmdline())
            for canary in canaries_of(stack):
                if canary in line:
                    stack.recorder.add("canary", CanaryHit(f"argv:{name}", canary))


def read_effects(path: Path, recorder: Recorder) -> None:
    """The plain sink's lines."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        job_id, attempt, pid, phase, at = json.loads(line)
        recorder.add("effect", Effect(job_id, attempt, recorder.clock.of_monotonic(at), pid=pid, phase=phase))


def read_logs(stack: Stack) -> None:
    """Warnings, errors and refused writes of every service, and secrets in any line."""
    for part in stack.parts.values():
        file = stack.folder / "logs" / f"{part.name}.log"
        text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        for canary in canaries_of(stack):
            if canary in text:
                stack.recorder.add("canary", CanaryHit(f"log:{part.name}", canary))
        for line in _log_lines(part.name, text, stack.recorder):
            stack.recorder.add("log", line)


def _log_lines(name: str, text: str, recorder: Recorder) -> Iterator[LogLine]:
    for line in text.splitlines():
        try:
            fields = json.loads(line)
        except ValueError:
            if line.strip():
                yield LogLine(name, recorder.clock.now(), "error", "not-json", text=line[:300])
            continue
        level = str(fields.get("level", "info"))
        event = str(fields.get("event", ""))
        exception = _exception(fields)
        if level in {"warning", "error", "critical"} or event in TOLD or exception is not None:
            yield LogLine(
                process=name,
                at=recorder.clock.of_wall(_moment(fields)) or 0.0,
                level=level,
                event=event,
                job_id=fields.get("job_id"),
                attempt=fields.get("attempt"),
                owner=fields.get("incarnation") or fields.get("owner"),
                count=int(fields["jobs"]) if isinstance(fields.get("jobs"), int) else 1,
                exception=exception,
                text=line[:1500],
            )


def _moment(fields: Mapping[str, Any]) -> datetime | None:
    found = fields.get("timestamp") or fields.get("at") or fields.get("time")
    try:
        return datetime.fromisoformat(str(found).replace("Z", "+00:00"))
    except ValueError:
        return None


def _exception(fields: Mapping[str, Any]) -> str | None:
    """The type of a traceback, from its last line."""
    found = fields.get("exception")
    if not found:
        return None
    if isinstance(found, list):  # structured tracebacks
        return str(found[-1].get("exc_type"))
    lines = [line for line in str(found).splitlines() if line and not line.startswith((" ", "\t"))]
    match = _LAST_LINE.match(lines[-1]) if lines else None
    return match["name"] if match else "unknown"
