"""What a checker says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from tests.chaos.history import History


@dataclass(frozen=True)
class Violation:
    """One break of a promise."""

    rule: str
    """A short word that stays the same, `lost` say; tables count by it."""
    says: str
    job_id: str | None = None


@dataclass(frozen=True)
class Report:
    """One checker's word on one history."""

    checker: str
    invariants: tuple[str, ...]
    looked_at: int
    """How many things were judged. 0: the history holds nothing of the kind, so silence is no evidence."""
    violations: tuple[Violation, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)
    """What was counted or measured, broken or not."""
    notes: dict[str, str] = field(default_factory=dict)
    """Beside a figure of the same name: the job or process that set it."""

    @property
    def passed(self) -> bool:
        """Whether nothing was broken; see `looked_at` for what that is worth."""
        return not self.violations

    @property
    def rules(self) -> frozenset[str]:
        """The words of what was broken."""
        return frozenset(violation.rule for violation in self.violations)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class Checker(Protocol):
    """A checker is a function without memory: the same history, the same report."""

    def __call__(self, history: History) -> Report:
        """Judge."""
        ...
