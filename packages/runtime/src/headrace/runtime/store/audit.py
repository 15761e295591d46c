"""Who did what: one document for each thing an operator did. Nothing changes an entry; age alone removes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.runtime.process.ids import new_job_id
from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import reading, writing
from headrace.runtime.store.updates import DAY_MS


@dataclass(frozen=True)
class AuditEntry:
    """One thing that was done.

    Attributes:
        id: Ordered by time.
        who: The name of the token.
        tenant: Of the token.
        action: `cancel`, `replay`, `discard`, `pause`, `resume` or `patch`.
        target: The job or pool; None where `filter` chose many.
        filter: What was asked for besides.
        count: How many jobs or pools it changed.
        at: By MongoDB's clock.
    """

    id: str
    who: str
    tenant: str | None
    action: str
    target: str | None
    filter: Mapping[str, Any] | None
    count: int
    at: datetime


class AuditLog:
    """The collection of audit entries."""

    def __init__(self, database: Database) -> None:
        self._entries: Any = database.handle["audit"]

    async def write(
        self,
        *,
        who: str,
        tenant: str | None,
        action: str,
        filter: Mapping[str, Any] | None = None,
        count: int = 1,
        target: str | None = None,
    ) -> None:
        """Add an entry; durable when it returns.

        Raises:
            StoreUnavailableError, OutcomeUnknownError: It may be missing.
        """
        entry = {
            "who": who,
            "tenant": tenant,
            "action": action,
            "filter": None if filter is None else dict(filter),
            "count": count,
            "target": target,
        }
        with writing("audit"):
            # An update, so that the server's clock says when and the driver's own repeat adds nothing.
            await self._entries.update_one(
                {"_id": new_job_id()}, {"$setOnInsert": entry, "$currentDate": {"at": True}}, upsert=True
            )

    async def page(self, cursor: str | None, limit: int, *, tenant: str | None = None) -> list[AuditEntry]:
        """Entries, newest first.

        Args:
            cursor: The id of the last entry seen; None to begin.
            limit: At most so many.
            tenant: Only what this tenant's tokens did.
        """
        wanted: dict[str, Any] = {} if tenant is None else {"tenant": tenant}
        if cursor is not None:
            wanted["_id"] = {"$lt": cursor}
        with reading("audit"):
            found = self._entries.find(wanted).sort("_id", -1).limit(limit)
            return [
                AuditEntry(**{"id" if name == "_id" else name: value for name, value in document.items()})
                async for document in found
            ]

    async def prune(self, *, keep_days: float, limit: int = 1000) -> int:
        """Remove entries older than this by MongoDB's clock, oldest first. Returns how many."""
        age = {"$lt": ["$at", {"$subtract": ["$$NOW", int(keep_days * DAY_MS)]}]}
        with reading("old audit entries"):
            # By id, which is the order of time: the walk ends at the first page that holds nothing old.
            oldest = self._entries.aggregate(
                [{"$sort": {"_id": 1}}, {"$limit": limit}, {"$match": {"$expr": age}}, {"$project": {"_id": 1}}]
            )
            ids = [document["_id"] async for document in oldest]
        if not ids:
            return 0
        with writing("prune audit"):
            result = await self._entries.delete_many({"_id": {"$in": ids}, "$expr": age})
        return int(result.deleted_count)
