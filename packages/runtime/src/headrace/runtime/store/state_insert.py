"""New jobs into MongoDB: the only place where a job comes into being."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import structlog
from pymongo.errors import BulkWriteError, DuplicateKeyError

from headrace.contracts.errors import OutcomeUnknownError, StoreUnavailableError
from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.runtime.store.documents import to_document, to_job
from headrace.runtime.store.faults import reading, writing
from headrace.runtime.store.state_base import StateBase
from headrace.runtime.store.values import Inserted, InsertVerdict

INSERT_SECONDS = 10.0
LOOK_UP_SECONDS = 2.0
KEY_WAIT_SECONDS = 1.0
SORTED_TOGETHER = 16
"""How many refused documents of an insert are looked into at once; below the number of connections."""
_DUPLICATE = 11000

log = structlog.get_logger(__name__)


class Inserting(StateBase):
    """Inserts, and what became of them."""

    async def insert(self, jobs: Sequence[Job]) -> list[Inserted]:
        """Store new jobs, majority-durable, each for itself.

        Returns:
            One answer per job, in order. `UNKNOWN` for those whose write was sent but not confirmed.

        Raises:
            StoreUnavailableError: No server was found; nothing was sent.
        """
        if not jobs:
            return []
        answers = [Inserted(InsertVerdict.CREATED)] * len(jobs)
        try:
            with writing("insert", seconds=INSERT_SECONDS):
                await self._jobs.insert_many([to_document(job) for job in jobs], ordered=False)
        except BulkWriteError as error:
            deadline = asyncio.get_running_loop().time() + KEY_WAIT_SECONDS
            failures = (error.details or {}).get("writeErrors", ())
            for first in range(0, len(failures), SORTED_TOGETHER):
                part = failures[first : first + SORTED_TOGETHER]
                indexes = [int(failure["index"]) for failure in part]
                sorting = [self._sort_failure(jobs[int(item["index"])], item, deadline) for item in part]
                for index, answer in zip(indexes, await asyncio.gather(*sorting), strict=True):
                    answers[index] = answer
        except OutcomeUnknownError:
            return await self._look_up_inserted(jobs)
        return answers

    async def _sort_failure(self, job: Job, failure: dict[str, Any], deadline: float) -> Inserted:
        if failure.get("code") != _DUPLICATE:
            log.warning("insert.refused", job_id=job.id, code=failure.get("code"))
            return Inserted(InsertVerdict.UNKNOWN)
        try:
            return await self._sort_duplicate(job, failure, deadline)
        except StoreUnavailableError:  # of this job nothing more can be said; the others have their answers
            return Inserted(InsertVerdict.UNKNOWN)

    async def _sort_duplicate(self, job: Job, failure: dict[str, Any], deadline: float) -> Inserted:
        pattern = failure.get("keyPattern", {})
        if "_id" in pattern:
            return Inserted(InsertVerdict.CREATED)  # the driver's own repeat of a write that had arrived
        if "unique_key" in pattern:
            return await self._sort_unique(job)
        assert job.idempotency is not None, "the only other unique index"
        while True:  # the winner may not have reached a majority yet, and may still be rolled back
            winner = await self.find_by_key(job.idempotency.scope, job.idempotency.key)
            if winner is not None:
                return Inserted(InsertVerdict.SAME_KEY, winner)
            if asyncio.get_running_loop().time() > deadline:
                return Inserted(InsertVerdict.KEY_UNSETTLED)
            await asyncio.sleep(0.02)

    async def _sort_unique(self, job: Job) -> Inserted:
        for _ in range(2):
            with reading("unique key", seconds=LOOK_UP_SECONDS):
                document = await self._jobs.find_one(
                    {
                        "tenant": job.tenant,
                        "type": job.type,
                        "unique_key": job.unique_key,
                        "state": {"$in": ["queued", "processing"]},
                    }
                )
            if document is not None:
                return Inserted(InsertVerdict.HELD, to_job(document))
            try:  # the holder is over by now: once more
                with writing("insert", seconds=INSERT_SECONDS):
                    await self._jobs.insert_one(to_document(job))
            except DuplicateKeyError:
                continue
            return Inserted(InsertVerdict.CREATED)
        return Inserted(InsertVerdict.UNKNOWN)

    async def _look_up_inserted(self, jobs: Sequence[Job]) -> list[Inserted]:
        found: set[str] = set()
        # A read that fails must not be taken for a write that was not sent.
        with suppress(StoreUnavailableError), reading("inserted jobs", seconds=LOOK_UP_SECONDS):
            cursor = self._jobs.find({"_id": {"$in": [job.id for job in jobs]}}, {"_id": 1})
            found = {document["_id"] async for document in cursor}
        return [Inserted(InsertVerdict.CREATED if job.id in found else InsertVerdict.UNKNOWN) for job in jobs]

    async def find_by_key(self, scope: str, key: str) -> Job | None:
        """The job that holds an idempotency key, read from a majority."""
        with reading("idempotency key", seconds=LOOK_UP_SECONDS):
            document = await self._jobs.find_one({"idempotency.scope": scope, "idempotency.key": key})
        return to_job(document) if document else None

    async def find_by_keys(self, scope: str, keys: Collection[str]) -> dict[str, Job]:
        """The jobs that hold these idempotency keys of one scope, by key, read from a majority."""
        if not keys:
            return {}
        with reading("idempotency keys", seconds=LOOK_UP_SECONDS):
            cursor = self._jobs.find({"idempotency.scope": scope, "idempotency.key": {"$in": list(keys)}})
            return {document["idempotency"]["key"]: to_job(document) async for document in cursor}

    async def mark_unindexed(self, job_ids: Sequence[str]) -> None:
        """Note that these stored jobs have not reached Redis; best effort, reconcile finds them anyway."""
        with writing("mark unindexed", seconds=2):
            await self._jobs.update_many(
                {"_id": {"$in": list(job_ids)}, "state": JobState.QUEUED.value}, {"$set": {"indexed": False}}
            )

    async def mark_indexed(self, job_ids: Sequence[str]) -> None:
        """Note that these jobs are in Redis now."""
        with writing("mark indexed"):
            await self._jobs.update_many(
                {"_id": {"$in": list(job_ids)}, "state": JobState.QUEUED.value, "indexed": False},
                {"$set": {"indexed": True}},
            )
