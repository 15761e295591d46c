"""The payloads of jobs that are not over, for the check before a deploy. Nothing here writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.contracts.job import JsonText
from headrace.runtime.store.database import PENDING, Database
from headrace.runtime.store.faults import reading


@dataclass(frozen=True)
class PendingPayload:
    """The payload of a waiting or running job."""

    job_id: str
    type: str
    contract_version: int
    payload: JsonText


class PayloadReads:
    """Pages of payloads, in the order of their ids, from a majority.

    A job that waits all the while is in exactly one page; one that is submitted or ends meanwhile may be in none.
    """

    def __init__(self, database: Database) -> None:
        self._jobs: Any = database.jobs

    async def page(self, *, after_id: str, limit: int) -> list[PendingPayload]:
        """The next page; `after_id` is the last id of the one before, at first the empty text.

        Raises:
            StoreUnavailableError: MongoDB does not answer.
        """
        with reading("payloads", seconds=30):
            cursor = (
                self._jobs.find(
                    {**PENDING, "finished_at": None, "_id": {"$gt": after_id}},
                    {"type": 1, "contract_version": 1, "payload": 1},
                )
                .sort("_id", 1)
                .limit(limit)
            )
            return [
                PendingPayload(
                    job_id=document["_id"],
                    type=document["type"],
                    contract_version=document["contract_version"],
                    payload=document["payload"],
                )
                async for document in cursor
            ]
