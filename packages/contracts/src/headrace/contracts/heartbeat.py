"""What workers say about themselves: the lease document of a child and the heartbeat of a service."""

from __future__ import annotations

import signal
from datetime import datetime

from pydantic import BaseModel, ConfigDict


class ExitRecord(BaseModel):
    """How a worker child ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    """`graceful`, `signal`, `code`, `killed` (by its supervisor), `memory` (above its limit), `lease` (silent),
    `not_started` (there never was a process)."""
    code: int | None = None
    signal: int | None = None
    peak_rss_bytes: int | None = None

    @property
    def signal_name(self) -> str:
        """The name of `signal`: `SIGKILL`; `unknown` for one that this platform does not know, or without any."""
        try:
            return signal.Signals(self.signal or 0).name
        except ValueError:
            return "unknown"


class Incarnation(BaseModel):
    """One start of one worker child; its id is never used again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    service: str
    host: str
    pid: int | None = None
    pool: str
    types: tuple[str, ...] = ()
    slots: int = 0
    version: str = ""
    versions: dict[str, int] = {}
    """The newest payload version it knows of its types; a type that is not in it has no limit."""
    started_at: datetime
    lease_until: datetime
    dead_at: datetime | None = None
    exit: ExitRecord | None = None
    running: tuple[str, ...] | None = None
    """The ids whose execution had started when it died; None when nobody could say (its host was lost)."""
    culprit: str | None = None


class RunningJob(BaseModel):
    """A job in a heartbeat."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    attempt: int
    seconds: float
    progress: float | None = None


class ChildBeat(BaseModel):
    """One child in a heartbeat."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    incarnation: str
    pid: int
    pool: str
    slots: int
    busy: int
    rss_bytes: int
    cpu_seconds: float
    running: tuple[RunningJob, ...] = ()


class Heartbeat(BaseModel):
    """What one worker service says every `JOB_WORKER_HEARTBEAT_SECONDS`; kept in Redis, a hint only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str
    host: str
    pid: int
    version: str
    at: datetime
    slots: int
    busy: int
    children: tuple[ChildBeat, ...] = ()
