"""C10 (I6): at quiet Redis holds exactly the jobs that are not over, each once, and nothing that nobody owns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from tests.chaos.history import History, PoolIndex

from .attempts import TERMINAL_STATES
from .report import Report, Violation

POOL_KEYS = {
    "ready": "zset",
    "delayed": "zset",
    "score": "hash",
    "inflight": "zset",
    "holder": "hash",
    "reserved": "zset",
    "paused": "string",
    "epoch": "string",
    "rebuilding": "string",
    "claims": "string",
    "drained": "string",
}
OTHER_KEYS = (
    (re.compile(r"[^:]+:\{[^_}][^}]*\}:claim:\S+"), "list", 60_000),
    (re.compile(r"[^:]+:\{_beats\}:last"), "hash", None),
    (re.compile(r"[^:]+:\{_beats\}:seen"), "zset", None),
    (re.compile(r"[^:]+:\{_events\}:log"), "stream", None),
    (re.compile(r"[^:]+:rate:.+"), "string", 3_600_000),
)
_POOL_KEY = re.compile(r"[^:]+:\{[^_}][^}]*\}:(?P<part>[a-z]+)")


def check_redis(history: History) -> Report:
    """Compare the pools with the documents, and the keys with the documented ones."""
    violations: list[Violation] = []
    held = 0
    for pool in history.pools:
        violations += _judge_pool(history, pool)
        held += len(pool.ready) + len(pool.delayed) + len(pool.inflight)
    seen = {pool.pool for pool in history.pools}
    waiting = {document.pool for document in history.documents if document.state not in TERMINAL_STATES}
    if history.pools:
        violations += [
            Violation("missing", f"jobs of pool {pool} wait, and Redis knows no such pool") for pool in waiting - seen
        ]
    for key in history.redis_keys:
        violations += _judge_key(key.name, key.type, key.ttl_ms)
    violations += [
        Violation("payload", f"{hit.where} holds {hit.canary}")
        for hit in history.canary_hits
        if hit.where.startswith("redis:")
    ]
    return Report(
        "C10 redis",
        ("I6",),
        len(history.pools),
        tuple(violations),
        {
            "pools": len(history.pools),
            "ids at quiet": held,
            "places reserved at quiet": sum(len(pool.reserved) for pool in history.pools),
            "keys": len(history.redis_keys),
        },
    )


def _judge_pool(history: History, pool: PoolIndex) -> Iterator[Violation]:
    where: Counter[str] = Counter()
    for members in (pool.ready, pool.delayed, pool.inflight):
        where.update(job_id for job_id, _ in members)
    pending = {d.id for d in history.documents if d.pool == pool.pool and d.state not in TERMINAL_STATES}
    for job_id in sorted(where.keys() - pending):
        yield Violation("ghost", f"in Redis' pool {pool.pool}, and not waiting or running", job_id)
    for job_id in sorted(pending - where.keys()):
        yield Violation("missing", f"not in Redis' pool {pool.pool}, and not over", job_id)
    for job_id in sorted(job_id for job_id, times in where.items() if times > 1):
        yield Violation("twice", f"{where[job_id]} times in Redis' pool {pool.pool}", job_id)
    for job_id in sorted(pool.holders.keys() - {job_id for job_id, _ in pool.inflight}):
        yield Violation("leftover", f"pool {pool.pool} keeps a holder for it, and it is not in flight", job_id)
    for job_id in sorted(pool.scores.keys() - {job_id for job_id, _ in pool.delayed}):
        yield Violation("leftover", f"pool {pool.pool} keeps a place for it, and it is not delayed", job_id)
    patience = history.run.settings.get("sweep", 0) + 10
    for job_id, expires_ms in pool.reserved:
        over_for = pool.at - (expires_ms / 1000 - history.run.wall_at_zero)
        if over_for > patience:
            yield Violation(
                "leaked-place", f"its place in {pool.pool} ended {over_for:.0f} s ago and still counts", job_id
            )
    if not pool.complete:
        yield Violation("incomplete", f"pool {pool.pool} is not complete at quiet")


def _judge_key(name: str, kind: str, ttl_ms: int | None) -> Iterator[Violation]:
    found = _POOL_KEY.fullmatch(name)
    if found is not None and found["part"] in POOL_KEYS:
        if kind != POOL_KEYS[found["part"]]:
            yield Violation("wrong-type", f"the key {name} is a {kind}")
        return
    for pattern, wanted, longest_ms in OTHER_KEYS:
        if pattern.fullmatch(name):
            if kind != wanted:
                yield Violation("wrong-type", f"the key {name} is a {kind}")
            elif longest_ms is not None and (ttl_ms is None or ttl_ms > longest_ms):
                yield Violation("no-end", f"the key {name} should end by itself; its time to live is {ttl_ms} ms")
            return
    yield Violation("unowned-key", f"nobody owns the key {name}")
