"""A stored job as the history keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from .history import Document, LogEntry
from .recorder import Clock


def to_document(stored: Mapping[str, Any], *, clock: Clock, read_at: float) -> Document:
    """Put what MongoDB holds on the run's clock."""
    result = stored.get("result")
    return Document(
        id=stored["_id"],
        read_at=read_at,
        state=stored["state"],
        attempt=stored["attempt"],
        log=tuple(_entry(entry, clock) for entry in stored["log"]),
        log_dropped=stored["log_dropped"],
        pool=stored["pool"],
        job_type=stored["type"],
        priority=stored["priority"],
        boosted=stored.get("boosted_at") is not None,
        tenant=stored.get("tenant"),
        key=(stored.get("idempotency") or {}).get("key"),
        tag=stored["tags"].get("tag"),
        owner=stored.get("owner"),
        failures=stored["failures"],
        crashes=stored["crashes"],
        max_retries=stored["max_retries"],
        created_at=clock.of_wall(stored["created_at"]) or 0.0,
        run_at=clock.of_wall(stored["run_at"]) or 0.0,
        expires_at=clock.of_wall(stored.get("expires_at")),
        cancel_requested_at=clock.of_wall(stored.get("cancel_requested_at")),
        result_digest=None if result is None else sha256(result.encode()).hexdigest()[:16],
        error_type=(stored.get("error") or {}).get("type"),
        replay_of=stored.get("replay_of"),
    )


def _entry(entry: Mapping[str, Any], clock: Clock) -> LogEntry:
    return LogEntry(
        seq=entry["seq"],
        before=entry["from"],
        after=entry["to"],
        attempt=entry["attempt"],
        at=clock.of_wall(entry["at"]) or 0.0,
        owner=entry.get("owner"),
        by=entry.get("by"),
        reason=entry["reason"],
    )
