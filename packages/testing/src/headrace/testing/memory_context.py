"""A `JobContext` in memory: what a worker's context promises, without a worker and without stores."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from headrace.contracts.errors import JobCancelled, LeaseLost
from headrace.testing.boundary import Boundary, Kind

LIMIT_BYTES = 262_144
"""The default of `JOB_PAYLOAD_LIMIT_BYTES`, which bounds checkpoints and results."""


class Killed(BaseException):
    """The process of the job is gone. Executors must not catch it, as they could not catch a SIGKILL."""


def to_json(value: Any, *, what: str, limit_bytes: int) -> str:
    """The value as JSON text.

    Raises:
        ValueError: It is no JSON, or larger than the limit.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the {what} is not JSON: {error}") from None
    if size > limit_bytes:
        raise ValueError(f"the {what} has {size} bytes as JSON; {limit_bytes} are allowed")
    return text


@dataclass
class MemoryLog:
    """A `JobLog` that keeps what it is told: level, event, fields."""

    entries: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def debug(self, event: str, **fields: Any) -> None:
        """Keep it."""
        self.entries.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        """Keep it."""
        self.entries.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        """Keep it."""
        self.entries.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        """Keep it."""
        self.entries.append(("error", event, fields))


class MemoryContext:
    """The context of one attempt. Checkpoints go through JSON, as they do on their way to MongoDB.

    Args:
        job_id: The job.
        attempt: The fencing token.
        checkpoint: The saved checkpoint of an earlier attempt, as JSON text.
        limit_bytes: How large a checkpoint may be.
        at: Called at every boundary; may raise, or call `stop`.
    """

    def __init__(
        self,
        job_id: str = "00000000-0000-7000-8000-000000000000",
        *,
        attempt: int = 1,
        checkpoint: str | None = None,
        limit_bytes: int = LIMIT_BYTES,
        at: Callable[[Boundary], None] = lambda _: None,
    ) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.log = MemoryLog()
        self.saved = checkpoint
        self.checkpoints: list[JsonValue] = []
        self.progress: list[tuple[float, str]] = []
        self._limit_bytes = limit_bytes
        self._at = at
        self._counts: Counter[Kind] = Counter()
        self._stop: type[Exception] | None = None
        self._dead = False
        self._scratch: Path | None = None

    @property
    def checkpoint(self) -> JsonValue:
        """The last saved checkpoint of any attempt, this one's included."""
        return None if self.saved is None else json.loads(self.saved)

    @property
    def scratch_dir(self) -> Path:
        """A folder of this attempt alone."""
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix=f"{self.job_id}-{self.attempt}-"))
        return self._scratch

    @property
    def cancelled(self) -> bool:
        """Whether the job should stop, for whatever reason."""
        return self._stop is not None or self._dead

    @property
    def sync(self) -> MemorySync:
        """The waiting forms, for plain functions."""
        return MemorySync(self)

    async def report_progress(self, fraction: float, message: str = "") -> None:
        """See `JobContext.report_progress`."""
        self.report_now(fraction, message)

    async def save_checkpoint(self, value: JsonValue) -> None:
        """See `JobContext.save_checkpoint`."""
        self.save_now(value)

    def dependency(self, name: str) -> AbstractAsyncContextManager[None]:
        """See `JobContext.dependency`; nothing is held up here."""
        return nullcontext()

    def report_now(self, fraction: float, message: str = "") -> None:
        """Report, from a coroutine or a thread."""
        number = self._begin(Kind.PROGRESS)
        self.progress.append((min(1.0, max(0.0, float(fraction))), str(message)))
        self._at(Boundary(Kind.PROGRESS, number, is_after=True))

    def save_now(self, value: JsonValue) -> None:
        """Save, from a coroutine or a thread."""
        self.check()
        text = to_json(value, what="checkpoint", limit_bytes=self._limit_bytes)
        number = self._begin(Kind.CHECKPOINT)
        self.saved = text
        self.checkpoints.append(json.loads(text))
        self._at(Boundary(Kind.CHECKPOINT, number, is_after=True))

    def check(self) -> None:
        """Raise if this attempt should stop.

        Raises:
            JobCancelled, LeaseLost: It was told to.
            Killed: Its process is gone.
        """
        if self._dead:
            raise Killed
        if self._stop is not None:
            raise self._stop(f"attempt {self.attempt} of {self.job_id} was told to stop")

    def stop(self, why: type[JobCancelled | LeaseLost]) -> None:
        """Tell the job to stop; the first reason counts."""
        self._stop = self._stop or why

    @property
    def is_dead(self) -> bool:
        """Whether its process is gone."""
        return self._dead

    def die(self) -> None:
        """End the process of the job: every call from now on fails.

        Raises:
            Killed: Always.
        """
        self._dead = True
        raise Killed

    def close(self) -> None:
        """Remove the scratch folder."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _begin(self, kind: Kind) -> int:
        self.check()
        self._counts[kind] += 1
        self._at(Boundary(kind, self._counts[kind]))
        self.check()
        return self._counts[kind]


class MemorySync:
    """The waiting forms of the context's coroutines."""

    def __init__(self, context: MemoryContext) -> None:
        self._context = context

    def report_progress(self, fraction: float, message: str = "") -> None:
        """See `JobContext.report_progress`."""
        self._context.report_now(fraction, message)

    def save_checkpoint(self, value: JsonValue) -> None:
        """See `JobContext.save_checkpoint`."""
        self._context.save_now(value)

    def dependency(self, name: str) -> AbstractContextManager[None]:
        """See `JobContext.dependency`; nothing is held up here."""
        return nullcontext()
