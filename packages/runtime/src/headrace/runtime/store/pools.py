"""What operators set for a pool: paused and why, its size, its slots. The truth; Redis has a fast path only (B12)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pymongo import ReturnDocument

from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import reading, writing


class Unset(Enum):
    """Stands for a setting that a change leaves alone; None takes it back to its default."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
Change = int | None | Unset


@dataclass(frozen=True)
class PoolSettings:
    """The settings of one pool; None = the service's own default."""

    name: str
    paused: bool = False
    paused_reason: str | None = None
    size_limit: int | None = None
    min_slots: int | None = None
    max_slots: int | None = None


class Pools:
    """The collection of pool settings. A pool without any has no document."""

    def __init__(self, database: Database) -> None:
        self._pools: Any = database.pools

    async def settings(self, pool: str) -> PoolSettings:
        """The settings of one pool."""
        with reading("pool"):
            document = await self._pools.find_one({"_id": pool})
        return PoolSettings(pool) if document is None else _to_settings(document)

    async def all(self) -> dict[str, PoolSettings]:
        """Every pool that has settings, by name."""
        with reading("pools"):
            return {document["_id"]: _to_settings(document) async for document in self._pools.find({})}

    async def pause(self, pool: str, reason: str, by: str) -> PoolSettings:
        """Stop claims of a pool. Running jobs run on, and jobs are taken."""
        return await self._change(pool, {"paused": True, "paused_reason": reason}, (), by)

    async def resume(self, pool: str, by: str) -> PoolSettings:
        """Let claims go on."""
        return await self._change(pool, {"paused": False}, ("paused_reason",), by)

    async def patch(
        self, pool: str, *, size_limit: Change = UNSET, min_slots: Change = UNSET, max_slots: Change = UNSET, by: str
    ) -> PoolSettings:
        """Change sizes."""
        asked = {"size_limit": size_limit, "min_slots": min_slots, "max_slots": max_slots}
        values = {name: value for name, value in asked.items() if isinstance(value, int)}
        removed = tuple(name for name, value in asked.items() if value is None)
        return await self._change(pool, values, removed, by)

    async def _change(self, pool: str, values: dict[str, Any], removed: tuple[str, ...], by: str) -> PoolSettings:
        change: dict[str, Any] = {"$set": {**values, "changed_by": by}, "$currentDate": {"changed_at": True}}
        if removed:
            change["$unset"] = dict.fromkeys(removed, 1)
        with writing("pool"):
            document = await self._pools.find_one_and_update(
                {"_id": pool}, change, upsert=True, return_document=ReturnDocument.AFTER
            )
        return _to_settings(document)


def _to_settings(document: dict[str, Any]) -> PoolSettings:
    is_paused = bool(document.get("paused"))
    return PoolSettings(
        name=document["_id"],
        paused=is_paused,
        paused_reason=document.get("paused_reason") if is_paused else None,
        size_limit=document.get("size_limit"),
        min_slots=document.get("min_slots"),
        max_slots=document.get("max_slots"),
    )
