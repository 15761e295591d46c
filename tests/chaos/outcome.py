"""What a run showed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .checkers.report import Report
from .history import History
from .plan import Plan


@dataclass(frozen=True)
class Outcome:
    """What a run showed."""

    plan: Plan
    history: History
    reports: tuple[Report, ...]
    failures: Mapping[str, str]
    """Faults that did not fire, and why."""
    trouble: str | None
    """Why the run itself did not come to its end."""
    seconds: float
    folder: Path

    @property
    def passed(self) -> bool:
        """Whether every promise was kept, and every planned fault fired."""
        return has_passed(self.trouble, self.failures, self.reports)


def has_passed(trouble: str | None, not_fired: Mapping[str, str], reports: Sequence[Report]) -> bool:
    """Whether a run came to its end, every planned fault fired, and every promise was kept."""
    return trouble is None and not not_fired and all(report.passed for report in reports)


def save_outcome(outcome: Outcome) -> None:
    """Write the reports beside the history."""
    text = json.dumps([report.to_json() for report in outcome.reports], indent=1)
    (outcome.folder / "reports.json").write_text(text + "\n", encoding="utf-8")


def commit() -> str:
    """Of the checkout."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()
