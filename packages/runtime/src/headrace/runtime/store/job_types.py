"""The registry of job types: written by workers when they start, read by the scheduler for every submission.

A plug-in's payload schema travels through here, so the scheduler validates payloads of types it has never imported.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.contracts.executor import ExecutionPolicy
from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import reading, writing


@dataclass(frozen=True)
class JobType:
    """A registered job type."""

    type: str
    policy: ExecutionPolicy
    payload_schema: dict[str, Any]
    contract_version: int = 1

    @property
    def pool(self) -> str:
        """The pool that its jobs wait in."""
        return self.policy.pool


class JobTypes:
    """The collection of job types."""

    def __init__(self, database: Database) -> None:
        self._types: Any = database.job_types

    async def register(self, types: Sequence[JobType]) -> None:
        """Write what this worker can run; the last writer's word counts."""
        for item in types:
            fields = {
                "pool": item.pool,
                "policy": item.policy.model_dump(mode="json"),
                # As text: a JSON Schema is full of keys that start with a dollar sign.
                "payload_schema": json.dumps(item.payload_schema, sort_keys=True),
                "contract_version": item.contract_version,
            }
            with writing("register job type"):
                await self._types.update_one(
                    {"_id": item.type}, {"$set": fields, "$currentDate": {"seen_at": True}}, upsert=True
                )

    async def all(self) -> list[JobType]:
        """Every registered job type, by name."""
        with reading("job types"):
            return [
                JobType(
                    type=document["_id"],
                    policy=ExecutionPolicy.model_validate(document["policy"]),
                    payload_schema=json.loads(document["payload_schema"]),
                    contract_version=document["contract_version"],
                )
                async for document in self._types.find({}).sort("_id", 1)
            ]

    async def pools(self) -> list[str]:
        """The names of all pools that any registered type uses."""
        return sorted({item.pool for item in await self.all()})
