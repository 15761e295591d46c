"""The worker's part of a job's trace: claim, run, settle."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from headrace.contracts.job import Job
from headrace.runtime.process import tracing
from headrace.runtime.process.tracing import Span
from headrace.worker.held import Held

_NOTHING: AbstractContextManager[None] = nullcontext()


def claimed(jobs: Sequence[Job], began_ns: int) -> None:
    """Jobs were claimed together."""
    for job in jobs:
        tracing.record(
            f"receive {job.pool}", "consumer", parent=job.traceparent, began_ns=began_ns, **_of(job, "receive")
        )


def begin(job: Job) -> Span | None:
    """An attempt begins."""
    if not tracing.is_on():
        return None
    return tracing.begin(f"process {job.pool}", "consumer", parent=job.traceparent, **_of(job, "process"))


def within(held: Held) -> AbstractContextManager[None]:
    """Around the executor: what it traces by itself hangs below the attempt."""
    return held.span.around() if held.span is not None else _NOTHING


def end(held: Held) -> None:
    """The attempt has ended, and its settlement tells how."""
    if held.span is None:
        return
    settlement = held.settlement
    error = settlement.error.type if settlement is not None and settlement.error is not None else None
    held.span.end(error=error, job__outcome="lost" if settlement is None else settlement.reason.value)


def settled(batch: Sequence[Held], began_ns: int) -> None:
    """Attempts were settled together."""
    for held in batch:
        job = held.job
        parent = held.span.traceparent if held.span is not None else job.traceparent
        tracing.record(f"settle {job.pool}", "client", parent=parent, began_ns=began_ns, **_of(job, "settle"))


def _of(job: Job, operation: str) -> dict[str, Any]:
    return tracing.job_attributes(operation, pool=job.pool, job_id=job.id, job_type=job.type, attempt=job.attempt)
