"""Records of a history about jobs: what was asked and answered, what MongoDB holds, what jobs did."""

from __future__ import annotations

from dataclasses import dataclass


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
