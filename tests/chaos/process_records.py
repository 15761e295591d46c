"""Records of a history about processes and what befell them: faults, ends, logs, resources, probes."""

from __future__ import annotations

from dataclasses import dataclass, field


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

    @property
    def over(self) -> float:
        """When it was over; one that was never healed, as it happened."""
        return self.at if self.ended is None else self.ended


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
