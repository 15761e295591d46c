"""What the parts of `JobStateManager` share: the collection and how long ended jobs are kept."""

from __future__ import annotations

from typing import Any

from headrace.contracts.states import JobState
from headrace.runtime.store.database import Database


class StateBase:
    """Base of the parts.

    Args:
        database: The open database.
        retention_days: How long completed and cancelled jobs are kept; 0 = for ever.
        dead_retention_days: The same for failed jobs.
    """

    def __init__(self, database: Database, *, retention_days: float = 0, dead_retention_days: float = 0) -> None:
        self._jobs: Any = database.jobs
        self._keep_days = {
            JobState.COMPLETED: retention_days,
            JobState.CANCELLED: retention_days,
            JobState.FAILED: dead_retention_days,
        }
