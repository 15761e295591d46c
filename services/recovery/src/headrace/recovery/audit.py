"""Audit entries are kept for `JOB_AUDIT_RETENTION_DAYS`."""

from __future__ import annotations

import structlog

from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts
from headrace.runtime.store.audit import AuditLog

log = structlog.get_logger(__name__)


class AuditDuty:
    """Removes old audit entries; with 0 days nothing is ever removed."""

    name = "audit"
    seconds = 600.0

    def __init__(self, parts: Parts) -> None:
        self._keep_days = parts.config.audit_retention_days
        self._audit = AuditLog(parts.database)

    async def run_once(self) -> Counts:
        """Remove up to a thousand."""
        pruned = await self._audit.prune(keep_days=self._keep_days) if self._keep_days else 0
        if pruned:
            log.info("recovery.audit_pruned", count=pruned)
        return +Counts({"audit_pruned": pruned})
