"""Values for tests: name only what matters."""

from __future__ import annotations

import itertools
import secrets
from datetime import UTC, datetime
from typing import Any

from headrace.contracts.job import Job, LogEntry, Priority
from headrace.contracts.states import JobState, Reason

_counter = itertools.count()


def make_job_id() -> str:
    """A UUIDv7 text; ordered by the time and the order of the calls."""
    milliseconds = int(datetime.now(UTC).timestamp() * 1000)
    count = next(_counter) & 0xFFF
    value = milliseconds << 80 | 0x7 << 76 | count << 64 | 0b10 << 62 | secrets.randbits(62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def make_job(*, priority: Priority = Priority.MEDIUM, **only_what_matters: Any) -> Job:
    """A job as the scheduler stores it: queued, due now, log begun.

    Args:
        priority: Its priority.
        only_what_matters: Other fields of `Job`.
    """
    now = datetime.now(UTC)
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    fields: dict[str, Any] = {
        "id": make_job_id(),
        "type": "noop",
        "pool": "default",
        "priority": priority.rank,
        "state": JobState.QUEUED,
        "max_retries": 3,
        "timeout_seconds": 60.0,
        "payload": "{}",
        "run_at": now,
        "created_at": now,
        "updated_at": now,
        "log": (
            LogEntry(from_=None, to=JobState.QUEUED, seq=0, attempt=0, at=now, by="test", reason=Reason.SUBMITTED),
        ),
    }
    return Job(**fields | only_what_matters)
