"""Notes in the audit log of what tokens did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.store.audit import AuditLog
from headrace.runtime.web.auth import Token
from headrace.scheduler.links import MongoLink

log = structlog.get_logger(__name__)


class AuditTrail:
    """Writes entries for what has been done. An entry that MongoDB did not take stands in the service's log."""

    def __init__(self, entries: AuditLog, mongo: MongoLink) -> None:
        self.entries = entries
        self._mongo = mongo

    async def note(
        self,
        token: Token,
        action: str,
        *,
        target: str | None = None,
        filter: Mapping[str, Any] | None = None,
        count: int = 1,
    ) -> None:
        """Say that the token did this. Never raises `StoreUnavailableError`: what was done is done."""
        try:
            await self._mongo.write(
                lambda: self.entries.write(
                    who=token.name, tenant=token.tenant, action=action, target=target, filter=filter, count=count
                )
            )
        except StoreUnavailableError as error:
            log.warning(
                "audit.not_written", who=token.name, action=action, target=target, count=count, reason=error.detail
            )
