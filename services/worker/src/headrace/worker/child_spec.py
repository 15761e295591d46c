"""What the supervisor tells a child about itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ChildSpec:
    """One child.

    Attributes:
        incarnation: Its registered id.
        pool: What it serves.
        types: The job types it runs.
        slots: Threads that run jobs.
        board_descriptor: The shared memory that its supervisor reads.
        grace_seconds: How long its jobs may take when it is told to end.
        scratch: The folder for the files of its jobs; there, and its own.
        max_jobs: After so many jobs it claims no more; None = no limit.
        cpu_seconds: What one job may use; None = no limit.
    """

    incarnation: str
    pool: str
    types: tuple[str, ...]
    slots: int
    board_descriptor: int
    grace_seconds: float
    scratch: str
    max_jobs: int | None = None
    cpu_seconds: int | None = None
