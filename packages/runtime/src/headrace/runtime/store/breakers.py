"""Breakers of what jobs depend on, shared by all workers. A dependency that works has no document.

Times are the server's. A document means that the breaker is open; once `open_until` is over, one job at a time may
probe. One that nobody has tried for ten minutes after that is forgotten (an index of MongoDB removes it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from headrace.runtime.store import updates
from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import reading, writing

FIRST_OPEN_MS = 10_000
MAX_OPEN_MS = 300_000
PROBE_MS = 30_000
"""A probe that has not said how it went by then counts no more, and another may begin."""
MAX_LISTED = 1000
HOST_PREFIX = "host:"
"""A host that crawls ask is a dependency with this before its name. It holds up the crawls of that host alone."""


@dataclass(frozen=True)
class DependencyBreaker:
    """An open breaker.

    Attributes:
        name: The dependency.
        state: `half-open` when a probe may begin or is under way.
        opened_at: When it opened.
        retry_in_seconds: Until a probe may begin.
        failures: Times it was opened, or stayed open after a probe.
        types: Job types that have met it.
        error: What the last failure said.
    """

    name: str
    state: Literal["open", "half-open"]
    opened_at: datetime
    retry_in_seconds: float
    failures: int
    types: tuple[str, ...]
    error: str


class DependencyBreakers:
    """The collection `breakers`."""

    def __init__(self, database: Database) -> None:
        self._breakers: Any = database.handle["breakers"]

    async def all(self) -> list[DependencyBreaker]:
        """Every open breaker, by name, a thousand at most.

        Raises:
            StoreUnavailableError: MongoDB did not answer.
        """
        with reading("breakers"):
            cursor = self._breakers.aggregate(
                [
                    {"$sort": {"_id": 1}},
                    {"$limit": MAX_LISTED},
                    {"$set": {"left_ms": {"$max": [0, {"$subtract": ["$open_until", "$$NOW"]}]}}},
                ]
            )
            return [_to_breaker(document) async for document in cursor]

    async def fail(self, name: str, *, job_type: str, error: str) -> None:
        """Open a breaker, or keep it open for longer: twice as long for each time that a probe has failed.

        What fails while it is open and was no probe changes nothing: it began before.

        Raises:
            StoreUnavailableError, OutcomeUnknownError: Whether it is open is not known.
        """
        over = {"$lte": [{"$ifNull": ["$open_until", "$$NOW"]}, "$$NOW"]}
        failures = {"$ifNull": ["$failures", 0]}
        longer = {"$min": [MAX_OPEN_MS, {"$multiply": [FIRST_OPEN_MS, {"$pow": [2, {"$min": [failures, 10]}]}]}]}
        with writing("breaker"):
            await self._breakers.update_one(
                {"_id": name},
                [
                    {
                        "$set": {
                            "opened_at": {"$ifNull": ["$opened_at", "$$NOW"]},
                            "types": {"$setUnion": [{"$ifNull": ["$types", []]}, [updates.literal(job_type)]]},
                            "error": updates.literal(error),
                            "open_until": {"$cond": [over, {"$add": ["$$NOW", longer]}, "$open_until"]},
                            "failures": {"$cond": [over, {"$add": [failures, 1]}, "$failures"]},
                            "probe_until": None,
                        }
                    }
                ],
                upsert=True,
            )

    async def meet(self, name: str, job_type: str) -> None:
        """Note that jobs of a type are held up by an open breaker.

        Raises:
            StoreUnavailableError, OutcomeUnknownError: It may be missing.
        """
        with writing("breaker"):
            await self._breakers.update_one({"_id": name}, {"$addToSet": {"types": job_type}})

    async def probe(self, name: str) -> bool:
        """Ask to be the one job that tries whether the dependency works again.

        Raises:
            StoreUnavailableError, OutcomeUnknownError: Then it is somebody else's turn.
        """
        with writing("breaker"):
            result = await self._breakers.update_one(
                {
                    "_id": name,
                    "$expr": {
                        "$and": [
                            {"$lte": ["$open_until", "$$NOW"]},
                            {"$lte": [{"$ifNull": ["$probe_until", "$$NOW"]}, "$$NOW"]},
                        ]
                    },
                },
                [{"$set": {"probe_until": {"$add": ["$$NOW", PROBE_MS]}}}],
            )
        return bool(result.modified_count)

    async def close(self, name: str) -> bool:
        """Close a breaker. Returns whether it was open.

        Raises:
            StoreUnavailableError, OutcomeUnknownError: It may still be open.
        """
        with writing("breaker"):
            result = await self._breakers.delete_one({"_id": name})
        return bool(result.deleted_count)

    async def of_type(self, job_type: str) -> Sequence[str]:
        """Names of open breakers that jobs of this type have met, a thousand at most.

        Raises:
            StoreUnavailableError: MongoDB did not answer.
        """
        with reading("breakers"):
            cursor = self._breakers.find({"types": job_type}, {"_id": 1}).sort("_id", 1).limit(MAX_LISTED)
            return [document["_id"] async for document in cursor]


def _to_breaker(document: dict[str, Any]) -> DependencyBreaker:
    left_ms = int(document["left_ms"])
    return DependencyBreaker(
        name=document["_id"],
        state="open" if left_ms else "half-open",
        opened_at=document["opened_at"],
        retry_in_seconds=left_ms / 1000,
        failures=int(document["failures"]),
        types=tuple(document["types"]),
        error=document["error"],
    )
