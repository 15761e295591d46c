"""What a chaos run leaves behind, as plain values: the recorder writes it, the checkers read it, nobody else judges.

Times are seconds on the run's one monotonic clock, 0 = its start. What a server stamped by the wall clock (log
entries, `created_at`) is put on it by the recorder: wall time - `Run.wall_at_zero`.

A history is a file of JSON lines, one record each, `{"record": "operation", ...}`, in any order and appended while the
run goes on, so that what a crash of the suite leaves is still readable: see `history_file`.
"""

from __future__ import annotations

from dataclasses import dataclass, field


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
class Operation:
    """One call of a client, with one job at most: a batch is one operation per item, all with the same times.

    After an outcome of `info` the client's name is new: nobody knows when that call ends.
    """

    index: int
    """In the order of the calls' starts."""
    client: str
    op: str
    """`submit`, `get` (job view), `history`, `cancel`, `replay`."""
    invoked: float
    completed: float | None = None
    """None: the run ended before an answer."""
    outcome: str = "info"
    """`ok`: a definite answer that it was done (2xx; for reads also 404).
    `fail`: definitely not applied (4xx, 503 store-unavailable, nothing was sent). `info`: anything else."""
    status: int | None = None
    problem: str | None = None
    """The problem's code of an answer that is not 2xx, `queue-full` say."""
    retry_after: float | None = None
    batched: bool = False
    """An item of a batch: it has no header of its own, so no `retry_after`."""
    job_id: str | None = None
    """Of the answer (also a refused one that names it), or of the request for all but submits."""
    # What was asked.
    pool: str | None = None
    job_type: str | None = None
    priority: int | None = None
    tenant: str | None = None
    key: str | None = None
    """The idempotency key."""
    digest: str | None = None
    """Of the body, to tell a repeat from a misuse of its key."""
    tag: str | None = None
    """A text of this request alone, that the job's tags carry."""
    # What was answered.
    state: str | None = None
    attempt: int | None = None
    log_length: int | None = None
    """Of `history`: transitions shown + those dropped before them."""
    cancel_requested: bool | None = None
    echoed_tag: str | None = None
    error: str | None = None
    """For people: the exception, when there was no answer."""


@dataclass(frozen=True)
class LogEntry:
    """One transition, as the document's log has it."""

    seq: int
    before: str | None
    after: str
    attempt: int
    at: float
    owner: str | None = None
    by: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Document:
    """A job document as read at one moment."""

    id: str
    read_at: float
    state: str
    attempt: int
    log: tuple[LogEntry, ...]
    log_dropped: int = 0
    pool: str = "test"
    job_type: str = "test.sleep"
    priority: int = 1
    boosted: bool = False
    tenant: str | None = None
    key: str | None = None
    """The idempotency key, with its scope where there is one."""
    tag: str | None = None
    owner: str | None = None
    failures: int = 0
    crashes: int = 0
    max_retries: int = 0
    created_at: float = 0.0
    run_at: float = 0.0
    expires_at: float | None = None
    cancel_requested_at: float | None = None
    result_digest: str | None = None
    error_type: str | None = None
    replay_of: str | None = None


@dataclass(frozen=True)
class Effect:
    """A line that an executor left when it did something."""

    job_id: str
    attempt: int
    at: float
    owner: str | None = None
    """The incarnation, where known."""
    pid: int | None = None
    phase: str = "start"
    """`start`, `effect` or `step-3`, `end`."""
    sink: str = "plain"
    """`plain`: a file that takes everything. `fenced`: a store that compares attempts."""
    applied: bool = True
    """False: the fenced sink refused it."""


@dataclass(frozen=True)
class PendingSample:
    """How many jobs of a pool were not over, in one majority snapshot of MongoDB."""

    at: float
    pool: str
    pending: int
    complete: bool = True
    """Whether Redis was complete just before and after; the bound is exact only then."""


@dataclass(frozen=True)
class PlannedFault:
    """What the seed asked for."""

    id: str
    at: float
    kind: str
    """`kill`, `pause` (SIGSTOP), `stop` (SIGTERM), `stop-kill`, `flush`, `empty-restart`, `old-copy`, `stepdown`,
    `black-hole`, `block` (a worker lives and makes no progress), `failpoint:NAME:ACTION`, …"""
    target: str
    """`worker`, `child`, `scheduler`, `recovery`, `recovery:leader`, `monitor`, `redis`, `mongod:primary`,
    `mongod:secondary`, `mongod:majority`, `link:worker>redis`, …"""
    until: float | None = None
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FiredFault:
    """What really happened: one per planned fault that took hold, with the same id."""

    id: str
    at: float
    kind: str
    target: str
    ended: float | None = None
    """When it was healed, or what was hit ran again; None: never."""
    owners: tuple[str, ...] = ()
    """The incarnations of worker children that it hit."""
    pids: tuple[int, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class QueueEvent:
    """One step of a pool's index, in the order in which Redis did them (as MONITOR shows it)."""

    order: int
    at: float
    pool: str
    kind: str
    """`ready` (put among the ready, or moved there), `claimed` (ready, then in flight), `left` (out of ready by no
    claim), `complete` (a rebuild declared finished), `lost` (flush, restart: nothing is known of before)."""
    job_id: str = ""
    place: float | None = None
    """Its score among the ready, lowest first."""
    call: str = ""
    """For `claimed`: the claim's token; ids of one call are one claim."""


@dataclass(frozen=True)
class PoolIndex:
    """What Redis held of a pool at quiet: id and score, as stored (an id may be there twice)."""

    pool: str
    at: float
    complete: bool = True
    ready: tuple[tuple[str, float], ...] = ()
    delayed: tuple[tuple[str, float], ...] = ()
    inflight: tuple[tuple[str, float], ...] = ()
    reserved: tuple[tuple[str, float], ...] = ()
    holders: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RedisKey:
    """A key of Redis at quiet."""

    name: str
    type: str
    size: int = 0
    ttl_ms: int | None = None


@dataclass(frozen=True)
class Process:
    """A process of the run."""

    name: str
    """`worker-0`, `worker-0/child`, `mongod-1`; unique with `pid`."""
    role: str
    pid: int
    started: float
    ended: float | None = None
    exit_code: int | None = None
    """Negative: by that signal."""
    ended_by: str | None = None
    """The id of the fault that ended it, `stop` when the run did; None: by itself."""
    alive_after: bool = False
    """It was still there after everything had been stopped."""


@dataclass(frozen=True)
class LogLine:
    """A line of a process's log that a checker wants: warnings and worse."""

    process: str
    at: float
    level: str
    event: str
    job_id: str | None = None
    attempt: int | None = None
    owner: str | None = None
    count: int = 1
    """How many jobs it speaks of."""
    exception: str | None = None
    """The type of a traceback's last line."""
    text: str = ""


@dataclass(frozen=True)
class CanaryHit:
    """A canary seen where it may not be: `redis:KEY`, `log:PROCESS`, `argv:PROCESS`, `metrics:PROCESS`."""

    where: str
    canary: str


@dataclass(frozen=True)
class ResourceSample:
    """What a process used, in calm: at the run's start and at its quiet end."""

    process: str
    at: float
    rss_bytes: int
    sockets: int


@dataclass(frozen=True)
class SlowCommand:
    """A line of Redis' SLOWLOG."""

    at: float
    microseconds: int
    command: str


@dataclass(frozen=True)
class Probe:
    """An answer of a readiness probe."""

    at: float
    process: str
    ready: bool
    why: str = ""


@dataclass(frozen=True)
class Leader:
    """Who held recovery's leader lease, seen when it changed."""

    at: float
    holder: str | None


@dataclass(frozen=True)
class Metric:
    """One value that a process showed at /metrics."""

    at: float
    process: str
    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


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
