"""The points of a run at which a test may let something happen: each call of the context, the start and the end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What the executor does at a boundary."""

    START = "start"
    PROGRESS = "progress"
    CHECKPOINT = "checkpoint"
    END = "end"


@dataclass(frozen=True)
class Boundary:
    """Just before or just after the n-th call of a kind.

    Before a checkpoint the work is done and not saved; after it is saved, and the executor does not know yet. Before
    the start nothing has run; after the end the executor has returned, and its result was lost.
    """

    kind: Kind
    number: int = 1
    is_after: bool = False

    @staticmethod
    def before_checkpoint(number: int) -> Boundary:
        """Before the n-th checkpoint is saved; 1 is the first."""
        return Boundary(Kind.CHECKPOINT, number)

    @staticmethod
    def after_checkpoint(number: int) -> Boundary:
        """After the n-th checkpoint was saved."""
        return Boundary(Kind.CHECKPOINT, number, is_after=True)

    @staticmethod
    def before_progress(number: int) -> Boundary:
        """Before the n-th report of progress."""
        return Boundary(Kind.PROGRESS, number)

    @staticmethod
    def after_progress(number: int) -> Boundary:
        """After the n-th report of progress."""
        return Boundary(Kind.PROGRESS, number, is_after=True)

    @staticmethod
    def start() -> Boundary:
        """Before the executor runs at all."""
        return Boundary(Kind.START)

    @staticmethod
    def end() -> Boundary:
        """After the executor has returned."""
        return Boundary(Kind.END, is_after=True)

    def __str__(self) -> str:
        if self.kind is Kind.START:
            return "before the start"
        if self.kind is Kind.END:
            return "after the return"
        return f"{'after' if self.is_after else 'before'} {self.kind.value} {self.number}"
