"""The jobs this child holds, from the claim to the confirmed settlement."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from enum import StrEnum

from headrace.contracts.job import Job
from headrace.runtime.process.tracing import Span
from headrace.runtime.store.values import Settlement


class Phase(StrEnum):
    """How far a held job is."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    """Its settlement is on the way."""


class Stop(StrEnum):
    """Why a held job should stop; the first word counts."""

    CANCEL = "cancel"
    LOST = "lost"
    """The attempt no longer counts: write nothing."""
    RELEASE = "release"
    """The child shuts down."""


class Held:
    """One held job. Written by the event loop and by the thread that runs it; `lock` guards the hand-over."""

    __slots__ = (
        "_interrupt",
        "claimed_at",
        "interrupted",
        "job",
        "lock",
        "phase",
        "settlement",
        "span",
        "started_at",
        "stop",
        "stop_at",
        "token",
    )

    def __init__(self, job: Job, token: str) -> None:
        self.job = job
        self.token = token
        self.claimed_at = time.monotonic()
        self.started_at: float | None = None
        self.phase = Phase.WAITING
        self.stop: Stop | None = None
        self.stop_at: float | None = None
        self.settlement: Settlement | None = None
        self.span: Span | None = None
        """While it runs and tracing is on."""
        self.interrupted = False
        """Whether an exception was raised in the thread that runs it."""
        self.lock = threading.Lock()
        self._interrupt: Callable[[Stop], None] | None = None

    def started_ms_ago(self) -> int | None:
        """Milliseconds since it began to run; None when it has not."""
        return None if self.started_at is None else int((time.monotonic() - self.started_at) * 1000)

    def stopped_for(self, now: float) -> float:
        """Seconds since it was told to stop; 0 when it was not."""
        return 0.0 if self.stop_at is None else now - self.stop_at

    def begin(self, interrupt: Callable[[Stop], None]) -> bool:
        """Say that it runs now and how it can be interrupted. False: it was told to stop before."""
        with self.lock:
            if self.stop is not None:
                return False
            self.phase = Phase.RUNNING
            self.started_at = time.monotonic()
            self._interrupt = interrupt
            return True

    def end(self) -> None:
        """Say that it runs no more; nothing interrupts it from here on."""
        with self.lock:
            self.phase = Phase.ENDED
            self._interrupt = None

    def ask_to_stop(self, reason: Stop) -> bool:
        """Tell it to stop. Returns whether it is running (else its holder settles it)."""
        with self.lock:
            if self.stop is not None or self.phase is Phase.ENDED:
                return False
            self.stop = reason
            self.stop_at = time.monotonic()
            if self._interrupt is not None:
                # Under the lock: the thread cannot go on to another job between the question and the interrupt.
                self._interrupt(reason)
            return self.phase is Phase.RUNNING


class HeldJobs:
    """The table of held jobs and of claims under way. Read and written on the event loop; `len` and `get` anywhere."""

    def __init__(self) -> None:
        self._jobs: dict[str, Held] = {}
        self.open_tokens: set[str] = set()
        self.idle = asyncio.Event()
        self.idle.set()

    def add(self, held: Iterable[Held]) -> None:
        """Hold these."""
        for item in held:
            self._jobs[item.job.id] = item
        if self._jobs:
            self.idle.clear()

    def drop(self, held: Held) -> None:
        """Hold it no more; a later claim of the same job by this child stays."""
        if self._jobs.get(held.job.id) is held:
            del self._jobs[held.job.id]
        if not self._jobs:
            self.idle.set()

    def get(self, job_id: str) -> Held | None:
        """The held job with this id."""
        return self._jobs.get(job_id)

    def all(self) -> list[Held]:
        """Every held job."""
        return list(self._jobs.values())

    def __len__(self) -> int:
        return len(self._jobs)
