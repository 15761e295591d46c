"""The attempts of a job, read off its log: who was entitled to it, from when until when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.history import Document, FiredFault, History, LogEntry

from headrace.contracts.states import TERMINAL, JobState

PROCESSING = JobState.PROCESSING.value
TERMINAL_STATES = frozenset(state.value for state in TERMINAL)
KILLS = frozenset({"kill", "exit137", "stop-kill"})
"""Kinds of faults after which a process is gone without a farewell."""
PRIMARY_LOSSES = frozenset({"stepdown", "kill", "pause"})
"""Kinds of faults after which another member of MongoDB's replica set leads."""


@dataclass(frozen=True)
class Attempt:
    """From a claim to what ended its authority."""

    job_id: str
    number: int
    claim: LogEntry
    end: LogEntry | None
    """The next entry of the log; None while it runs."""

    @property
    def owner(self) -> str | None:
        """Whose it was."""
        return self.claim.owner

    @property
    def was_taken(self) -> bool:
        """Whether somebody else than its owner ended it."""
        return self.end is not None and self.end.by != self.owner


def attempts_of(document: Document) -> Iterator[Attempt]:
    """The attempts of a document, in the order of its log."""
    for at, entry in enumerate(document.log):
        if entry.after == PROCESSING:
            following = document.log[at + 1] if at + 1 < len(document.log) else None
            yield Attempt(document.id, entry.attempt, entry, following)


def all_attempts(history: History) -> dict[tuple[str, int], Attempt]:
    """Every attempt of every final document."""
    return {
        (attempt.job_id, attempt.number): attempt for document in history.documents for attempt in attempts_of(document)
    }


def calm_since(history: History, start: float, end: float, *, besides: FiredFault) -> float:
    """From when on nothing else disturbed what `besides` began at `start`, looking at faults until `end`.

    Another fault's recovery is not this one's: the clock of a bound starts when the last other fault was over, and
    where MongoDB lost its primary when the next may have been elected (`election` of the settings, in seconds).
    """
    for fault in history.fired:
        if fault.id != besides.id and fault.at <= end:
            over = fault.over
            if fault.target == "mongod:primary" and fault.kind in PRIMARY_LOSSES:
                over = max(over, fault.at + history.run.settings["election"])
            if over > besides.at:
                start = max(start, min(over, end))
    return start


def is_disturbed(history: History, start: float, end: float, *, slack: float, of: str = "") -> bool:
    """Whether any fault was on between `start` and `end`, or less than `slack` seconds before.

    `of`: what its target must name.
    """
    return any(of in fault.target and fault.at <= end and fault.over + slack >= start for fault in history.fired)
