"""Long-dead incarnations leave the collection of workers, unless a job still names them."""

from __future__ import annotations

import structlog

from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts

log = structlog.get_logger(__name__)


class PruneDuty:
    """Removes the documents of incarnations that have been dead for a day."""

    name = "prune"
    seconds = 3600.0

    def __init__(self, parts: Parts) -> None:
        self._incarnations = parts.incarnations

    async def run_once(self) -> Counts:
        """Remove up to a thousand."""
        pruned = await self._incarnations.prune()
        if pruned:
            log.info("recovery.workers_pruned", count=pruned)
        return +Counts({"worker_pruned": pruned})
