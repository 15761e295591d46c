"""Worker children as MongoDB knows them: registration, leases, deaths.

`dead_at` is the one word about life and death. A renewal is conditional on it, so a child that was declared dead stays
dead, and its next start is a new incarnation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from headrace.contracts.heartbeat import ExitRecord, Incarnation
from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import reading, writing

KEEP_DEAD_HOURS = 24


class Incarnations:
    """The collection of worker children."""

    def __init__(self, database: Database) -> None:
        self.collection: Any = database.workers
        self._jobs: Any = database.jobs

    async def register(
        self,
        incarnation_id: str,
        *,
        service: str,
        host: str,
        pool: str,
        types: Sequence[str],
        slots: int,
        version: str,
        lease_seconds: float,
        versions: Mapping[str, int] | None = None,
    ) -> None:
        """Write the document that a child must have before it claims anything. Majority-durable when it returns.

        Registering again is harmless: one that was marked dead meanwhile stays dead.
        """
        fixed = {
            "service": service,
            "host": host,
            "pool": pool,
            "types": list(types),
            "slots": slots,
            "version": version,
            "versions": dict(versions or {}),
        }
        with writing("register"):
            await self.collection.update_one(
                {"_id": incarnation_id},
                [
                    {
                        "$set": {name: {"$literal": value} for name, value in fixed.items()}
                        | {
                            "started_at": {"$ifNull": ["$started_at", "$$NOW"]},
                            "lease_until": _lease_end(lease_seconds),
                            "dead_at": {"$ifNull": ["$dead_at", None]},
                        }
                    }
                ],
                upsert=True,
            )

    async def renew(self, incarnation_ids: Sequence[str], *, lease_seconds: float) -> set[str]:
        """Renew all leases in one update.

        Returns:
            The ids that are not marked dead. A child whose id is missing must be ended.
        """
        ids = list(incarnation_ids)
        if not ids:
            return set()
        with writing("renew"):
            result = await self.collection.update_many(
                {"_id": {"$in": ids}, "dead_at": None}, [{"$set": {"lease_until": _lease_end(lease_seconds)}}]
            )
        if result.matched_count == len(ids):
            return set(ids)
        with reading("leases"):
            cursor = self.collection.find({"_id": {"$in": ids}, "dead_at": None}, {"_id": 1})
            return {document["_id"] async for document in cursor}

    async def resize(self, slots: Mapping[str, int]) -> None:
        """Write how many jobs each of these children may run at once now. Of the dead nothing is changed."""
        for number in sorted(set(slots.values())):
            ids = [incarnation_id for incarnation_id, allowed in slots.items() if allowed == number]
            with writing("resize"):
                await self.collection.update_many({"_id": {"$in": ids}, "dead_at": None}, {"$set": {"slots": number}})

    async def mark_dead(
        self,
        incarnation_id: str,
        *,
        exit_record: ExitRecord,
        running: Iterable[str],
        culprit: str | None = None,
        pid: int | None = None,
    ) -> bool:
        """Say that a child has ended, how, and which jobs it had started. The first word counts.

        Returns:
            Whether this call was the first to say so.
        """
        with writing("mark dead"):
            result = await self.collection.update_one(
                {"_id": incarnation_id, "dead_at": None},
                [
                    {
                        "$set": {
                            "dead_at": "$$NOW",
                            "exit": {"$literal": exit_record.model_dump()},
                            "running": {"$literal": list(running)},
                            "culprit": {"$literal": culprit},
                            "pid": {"$literal": pid},
                        }
                    }
                ],
            )
        return bool(result.matched_count)

    async def expired(self, *, limit: int = 1000) -> dict[str, datetime]:
        """Incarnations not marked dead whose lease is over by the server's clock: id → the lease's end."""
        with reading("expired leases"):
            cursor = self.collection.find(
                {"dead_at": None, "$expr": {"$lt": ["$lease_until", "$$NOW"]}}, {"lease_until": 1}
            ).limit(limit)
            return {document["_id"]: document["lease_until"] async for document in cursor}

    async def declare_lost(self, incarnation_id: str, *, lease_until: datetime) -> bool:
        """Mark an incarnation dead whose lease ended unrenewed. What it had started is not known.

        The update itself asks again: still this lease, still over by the server's clock.

        Returns:
            Whether it was marked by this call.
        """
        with writing("declare lost"):
            result = await self.collection.update_one(
                {
                    "_id": incarnation_id,
                    "dead_at": None,
                    "lease_until": lease_until,
                    "$expr": {"$lt": ["$lease_until", "$$NOW"]},
                },
                [{"$set": {"dead_at": "$$NOW", "exit": {"$literal": ExitRecord(kind="lease").model_dump()}}}],
            )
        return bool(result.matched_count)

    async def alive(self) -> list[Incarnation]:
        """Incarnations that are not marked dead."""
        with reading("workers"):
            return [to_incarnation(document) async for document in self.collection.find({"dead_at": None})]

    async def not_alive(self, incarnation_ids: Collection[str]) -> set[str]:
        """Those that are marked dead or have no document. A child has its document before it claims anything."""
        ids = list(incarnation_ids)
        if not ids:
            return set()
        with reading("workers"):
            cursor = self.collection.find({"_id": {"$in": ids}, "dead_at": None}, {"_id": 1})
            return set(ids) - {document["_id"] async for document in cursor}

    async def leasing(self, incarnation_ids: Collection[str]) -> set[str]:
        """Those that are not marked dead and whose lease runs by the server's clock."""
        with reading("workers"):
            cursor = self.collection.find(
                {
                    "_id": {"$in": list(incarnation_ids)},
                    "dead_at": None,
                    "$expr": {"$gt": ["$lease_until", "$$NOW"]},
                },
                {"_id": 1},
            )
            return {document["_id"] async for document in cursor}

    async def get(self, incarnation_id: str) -> Incarnation | None:
        """One incarnation."""
        with reading("worker"):
            document = await self.collection.find_one({"_id": incarnation_id})
        return to_incarnation(document) if document else None

    async def prune(self, *, keep_hours: float = KEEP_DEAD_HOURS, limit: int = 1000) -> int:
        """Remove long-dead incarnations that no job names as its owner. Returns how many."""
        with reading("dead workers"):
            cursor = self.collection.find(
                {
                    "dead_at": {"$ne": None},
                    "$expr": {"$lt": ["$dead_at", {"$subtract": ["$$NOW", int(keep_hours * 3_600_000)]}]},
                },
                {"_id": 1},
            ).limit(limit)
            old = [document["_id"] async for document in cursor]
            named = set(await self._jobs.distinct("owner", {"owner": {"$in": old}})) if old else set()
        gone = [incarnation_id for incarnation_id in old if incarnation_id not in named]
        if gone:
            with writing("prune workers"):
                await self.collection.delete_many({"_id": {"$in": gone}, "dead_at": {"$ne": None}})
        return len(gone)


def _lease_end(lease_seconds: float) -> dict[str, Any]:
    return {"$add": ["$$NOW", int(lease_seconds * 1000)]}


def to_incarnation(document: dict[str, Any]) -> Incarnation:
    """The value of a stored document. What a newer service wrote beside it is left out."""
    fields = {name: value for name, value in document.items() if name in Incarnation.model_fields}
    fields["id"] = document["_id"]
    return Incarnation.model_validate(fields)
