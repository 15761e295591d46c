"""When a pool may start a child after others have died: a back-off that grows while they die young."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 30.0
"""After children that never got ready: the next will not either, unless somebody mends it."""
MAX_READY_BACKOFF_SECONDS = 5.0
"""After children that did: a job or somebody outside killed them, and other jobs wait."""
YOUNG_SECONDS = 30.0


@dataclass
class Restarts:
    """The deaths of one pool's children that nobody asked for."""

    after: float = 0.0
    """Not before this time."""
    _count: int = 0
    _calm_at: float = 0.0

    def note_death(self, now: float, *, age_seconds: float, was_ready: bool) -> None:
        """A child has died. The back-off starts again when the last one lived long, or when all was calm for long."""
        if age_seconds > YOUNG_SECONDS or now > self._calm_at:
            self._count = 0
        most = MAX_READY_BACKOFF_SECONDS if was_ready else MAX_BACKOFF_SECONDS
        wait = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(self._count, 30), most)
        self._count += 1
        self.after = now + wait
        self._calm_at = self.after + YOUNG_SECONDS

    def may_start(self, now: float, missing: int) -> int:
        """How many of the missing children may be started now: after a death only one at a time shows what it was."""
        if now < self.after:
            return 0
        return min(missing, 1) if now < self._calm_at and self._count > 1 else missing
