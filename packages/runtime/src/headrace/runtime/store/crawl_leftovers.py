"""Crawl results whose job is gone: retention removes the job's document alone."""

from __future__ import annotations

from typing import Any

from pymongo import ASCENDING

from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import reading, writing

COLLECTIONS = ("job_logs", "crawl_texts", "crawl_links", "crawl_pages")
"""What jobs left besides their documents, under ids that begin with theirs. In this order: an interrupted removal
leaves pages, which are found again."""
BATCH = 1000


class CrawlLeftovers:
    """Finds and removes them, a bounded stretch at a time. Every call may be repeated, and made in two processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def jobs_after(self, collection: str, last: str, *, limit: int) -> list[str]:
        """Ids of jobs that have documents in a crawl collection, in order; one index seek for each.

        Args:
            collection: One of `COLLECTIONS`.
            last: The id to go on behind, "" to begin.
            limit: At most so many.

        Raises:
            StoreUnavailableError: MongoDB did not answer.
        """
        found: list[str] = []
        with reading("jobs with crawl results", seconds=30):
            while len(found) < limit:
                # ';' follows ':' in ASCII: behind everything of the last job.
                above = {"_id": {"$gt": f"{last};"}} if last else {}
                document = await self._database.handle[collection].find_one(
                    above, {"_id": 1}, sort=[("_id", ASCENDING)]
                )
                if document is None:
                    break
                last = str(document["_id"]).partition(":")[0]
                found.append(last)
        return found

    async def are_between(self, first: str, last: str) -> bool:
        """Whether there is anything of the jobs from `first` to `last`, in the order of ids, both included.

        Raises:
            StoreUnavailableError: MongoDB did not answer.
        """
        within = {"_id": {"$gt": f"{first}:", "$lt": f"{last};"}}
        with reading("crawl leftovers"):
            for name in COLLECTIONS:
                if await self._database.handle[name].find_one(within, {"_id": 1}) is not None:
                    return True
        return False

    async def gone(self, job_ids: list[str]) -> list[str]:
        """Those of the ids that have no job document any more.

        Raises:
            StoreUnavailableError: MongoDB did not answer.
        """
        with reading("jobs of crawl results"):
            there = {d["_id"] async for d in self._database.jobs.find({"_id": {"$in": job_ids}}, {"_id": 1})}
        return [job_id for job_id in job_ids if job_id not in there]

    async def remove(self, job_id: str, *, limit: int) -> int:
        """Remove crawl results of a job that is gone, about `limit` documents of them; returns how many.

        Raises:
            StoreUnavailableError: MongoDB did not confirm; call it again.
        """
        removed = 0
        for name in COLLECTIONS:
            collection: Any = self._database.handle[name]
            while removed < limit:
                within = {"_id": {"$gt": f"{job_id}:", "$lt": f"{job_id};"}}
                with reading("crawl leftovers"):
                    ids = [d["_id"] async for d in collection.find(within, {"_id": 1}).sort("_id", 1).limit(BATCH)]
                if ids:
                    with writing("crawl leftovers"):
                        result = await collection.delete_many({"_id": {"$gte": ids[0], "$lte": ids[-1]}})
                    removed += int(result.deleted_count)
                if len(ids) < BATCH:
                    break
        return removed
