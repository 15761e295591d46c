"""How attempts ended, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import JsonValue

from headrace.testing.boundary import Boundary


class Status(StrEnum):
    """How an attempt ended, as a worker would see it."""

    COMPLETED = "completed"
    FAILED = "failed"
    """For good, whatever retries are left: `PermanentError`, a payload that does not fit, a result that is no JSON."""
    RETRY = "retry"
    """`Retry` or any other exception: it runs again, until the retries of its policy are used up."""
    CANCELLED = "cancelled"
    LOST = "lost"
    """The attempt no longer counted; whatever it returned was dropped."""
    KILLED = "killed"


@dataclass(frozen=True)
class Ended:
    """One attempt that has ended."""

    status: Status
    result: JsonValue
    """What was returned, through JSON. None unless it completed."""
    error: BaseException | None
    has_returned: bool
    """Whether `execute` ran to its end, although perhaps it was told to stop."""
    checkpoint: str | None
    """The last saved checkpoint of any attempt, as JSON text: give it to the next attempt."""
    checkpoints: tuple[JsonValue, ...]
    """Those of this attempt, in order."""
    progress: tuple[tuple[float, str], ...]
    logs: tuple[tuple[str, str, dict[str, Any]], ...]
    reached: tuple[Boundary, ...]
    """Every boundary of this attempt, in order."""

    @property
    def outcome(self) -> tuple[str, Any]:
        """What an uninterrupted run and one after kills must agree in: status, and result or error."""
        if self.error is None:
            return self.status.value, self.result
        return self.status.value, f"{type(self.error).__name__}: {self.error}"


@dataclass(frozen=True)
class KillReport:
    """What a run with kills did."""

    uninterrupted: Ended
    killed_at: tuple[Boundary, ...]
    attempts: int
    """Of all runs together."""
