"""A leader lease with an epoch. An optimisation only: no rule of correctness rests on there being one leader."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import reading, writing


@dataclass(frozen=True)
class LeaseView:
    """A lease as it stands. `epoch` rises with every change of leader."""

    name: str
    holder: str
    epoch: int
    until: datetime
    valid: bool
    """Whether it was running by the server's clock when it was read."""


class LeaderLease:
    """One named lease.

    Args:
        database: The open database.
        name: What is led.
        holder: Who asks, unique per process start.
        seconds: How long a grant lasts; renew well before.
    """

    def __init__(self, database: Database, *, name: str, holder: str, seconds: float) -> None:
        self._leases: Any = database.leases
        self.name = name
        self.holder = holder
        self.seconds = seconds

    async def acquire(self) -> int | None:
        """Take or renew the lease.

        Returns:
            The epoch of this leadership; None while somebody else holds the lease.
        """
        epoch = await self._try()
        if epoch is None and await self._create():
            epoch = await self._try()
        return epoch

    async def _try(self) -> int | None:
        mine = {"$eq": ["$holder", {"$literal": self.holder}]}
        with writing("leader lease", seconds=max(1.0, self.seconds / 2)):
            document = await self._leases.find_one_and_update(
                {"_id": self.name, "$or": [{"holder": self.holder}, {"$expr": {"$lt": ["$until", "$$NOW"]}}]},
                [
                    {
                        "$set": {
                            "epoch": {"$cond": [mine, "$epoch", {"$add": ["$epoch", 1]}]},
                            "holder": {"$literal": self.holder},
                            "until": {"$add": ["$$NOW", int(self.seconds * 1000)]},
                        }
                    }
                ],
                return_document=ReturnDocument.AFTER,
            )
        return int(document["epoch"]) if document else None

    async def _create(self) -> bool:
        # Apart, because a filter that asks for the server's clock cannot be an upsert.
        never = {"holder": "", "epoch": 0, "until": datetime.fromtimestamp(0, UTC)}
        try:
            with writing("leader lease"):
                result = await self._leases.update_one({"_id": self.name}, {"$setOnInsert": never}, upsert=True)
        except DuplicateKeyError:  # two at once made it
            return True
        return result.upserted_id is not None

    async def release(self) -> None:
        """End the lease now, so that a standby need not wait for its end."""
        with writing("leader lease", seconds=2):
            await self._leases.update_one({"_id": self.name, "holder": self.holder}, [{"$set": {"until": "$$NOW"}}])


async def read_lease(database: Database, name: str) -> LeaseView | None:
    """A lease as anybody may see it."""
    with reading("leader lease"):
        cursor = database.leases.aggregate(
            [{"$match": {"_id": name}}, {"$set": {"valid": {"$gte": ["$until", "$$NOW"]}}}]
        )
        async for document in cursor:
            return LeaseView(
                name=name,
                holder=document["holder"],
                epoch=int(document["epoch"]),
                until=document["until"],
                valid=document["valid"],
            )
    return None
