"""What a chaos run leaves behind, as plain values: the recorder writes it, the checkers read it, nobody else judges.

Times are seconds on the run's one monotonic clock, 0 = its start. What a server stamped by the wall clock (log
entries, `created_at`) is put on it by the recorder: wall time - `Run.wall_at_zero`.

A history is a file of JSON lines, one record each, `{"record": "operation", ...}`, in any order and appended while the
run goes on, so that what a crash of the suite leaves is still readable: see `history_file`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .job_records import Document, Effect, LogEntry, Operation, PendingSample
from .process_records import (
    CanaryHit,
    FiredFault,
    Leader,
    LogLine,
    Metric,
    PlannedFault,
    Probe,
    Process,
    ResourceSample,
)
from .redis_records import PoolIndex, QueueEvent, RedisKey, SlowCommand

__all__ = [
    "CanaryHit",
    "Document",
    "Effect",
    "FiredFault",
    "History",
    "Leader",
    "LogEntry",
    "LogLine",
    "Metric",
    "Operation",
    "PendingSample",
    "PlannedFault",
    "PoolIndex",
    "Probe",
    "Process",
    "QueueEvent",
    "RedisKey",
    "ResourceSample",
    "Run",
    "SlowCommand",
]


@dataclass(frozen=True)
class Run:
    """How the run was made. There is one in each history."""

    seed: int = 0
    mode: str = "safety"
    """`safety` (faults heal), `liveness` (one of each kind stays away), or the name of a scenario."""
    commit: str = ""
    wall_at_zero: float = 0.0
    """Seconds since 1970 at the run's time 0."""
    healed_at: float = 0.0
    """Every fault is over."""
    quiet_at: float = 0.0
    """When documents and Redis were read for good: all jobs over and one full reconcile later, or the deadline."""
    settings: dict[str, float] = field(default_factory=dict)
    """The settings the bounds are made of: `heartbeat`, `lease`, `sweep`, `probe`, `leader_ttl`, `rebuild_rate`
    (jobs/s), `election`, `cancel` (what a cooperative cancel may take), `horizon`, `max_crashes`, `hard_limit`.
    Times are seconds."""
    bounds: dict[str, int] = field(default_factory=dict)
    """The bound of each pool."""
    canaries: tuple[str, ...] = ()
    """Texts that may not show up: `payload:...` in payloads (never in Redis or logs), others are secrets (never)."""


@dataclass(frozen=True)
class History:
    """Everything of one run."""

    run: Run
    operations: tuple[Operation, ...] = ()
    documents: tuple[Document, ...] = ()
    """Final: each document once, read at quiet."""
    observed: tuple[Document, ...] = ()
    """Documents as seen while the run went on, `read_at` each."""
    effects: tuple[Effect, ...] = ()
    pending: tuple[PendingSample, ...] = ()
    planned: tuple[PlannedFault, ...] = ()
    fired: tuple[FiredFault, ...] = ()
    queue_events: tuple[QueueEvent, ...] = ()
    pools: tuple[PoolIndex, ...] = ()
    redis_keys: tuple[RedisKey, ...] = ()
    processes: tuple[Process, ...] = ()
    log_lines: tuple[LogLine, ...] = ()
    canary_hits: tuple[CanaryHit, ...] = ()
    resources: tuple[ResourceSample, ...] = ()
    slow_commands: tuple[SlowCommand, ...] = ()
    probes: tuple[Probe, ...] = ()
    leaders: tuple[Leader, ...] = ()
    metrics: tuple[Metric, ...] = ()
