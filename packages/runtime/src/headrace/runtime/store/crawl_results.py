"""The pages of crawl jobs in MongoDB.

Three collections, read by the range of ids that a job's id begins, so that no second index is needed:

- `crawl_pages`, `_id` = `<job>:<url hash>`: one small document per URL, failed and skipped ones too;
- `crawl_links`, the same `_id`: all links of the page;
- `crawl_texts`, `_id` = `<job>:<text hash>`: each text once.

They leave when their job's document is gone: `crawl_leftovers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pymongo import ASCENDING, ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError, PyMongoError

from headrace.contracts.api import PageView
from headrace.contracts.errors import (
    FieldError,
    LeaseLost,
    OutcomeUnknownError,
    StoreUnavailableError,
    ValidationFailedError,
)
from headrace.runtime.store.crawl_pages import (
    HASH_BYTES,
    SEEN_FIELDS,
    Document,
    PageState,
    SeenPage,
    StoredPage,
    page_document,
    page_view,
    seen_page,
    text_hash,
    url_hash,
)
from headrace.runtime.store.faults import READ_SECONDS, WRITE_SECONDS, reading, writing

__all__ = ["CrawlResults", "PageState", "SeenPage", "StoredPage", "url_hash"]

DUPLICATE_KEY = 11000
RESUME_BATCH = 1000
MAX_PAGE_LIMIT = 1000
SCAN_SECONDS = 30.0
"""For a stretch of a resume or a count. Calls for people keep the shorter limits of `faults`."""


class CrawlResults:
    """Writes and reads crawl results. Every write may be repeated.

    Args:
        database: The driver's database handle, opened with majority write concern.
    """

    def __init__(self, database: Any) -> None:
        self.database = database
        self._pages = database["crawl_pages"]
        self._links = database["crawl_links"]
        self._texts = database["crawl_texts"]

    async def ensure_indexes(self) -> None:
        """Nothing to make: every query is a range of `_id`."""

    async def save(self, job_id: str, attempt: int, pages: Sequence[StoredPage]) -> None:
        """Store finished pages; durable on a majority when it returns.

        Texts and links go first, then the pages, so that a stored page always has them. A crash between them leaves
        texts and links without a page; the next attempt fetches that page and writes them again.

        Args:
            job_id: The job.
            attempt: The fencing token.
            pages: At most a few dozen.

        Raises:
            LeaseLost: A newer attempt has stored one of these pages. Others of them may have been written.
            StoreUnavailableError: MongoDB did not confirm; save them again.
        """
        if not pages:
            return
        at = datetime.now(UTC)
        texts = {text_hash(page.text): page.text for page in pages if page.text is not None}
        text_writes = [
            UpdateOne({"_id": f"{job_id}:{key}"}, {"$setOnInsert": {"text": text}}, upsert=True)
            for key, text in texts.items()
        ]
        link_writes = [
            _fenced(job_id, attempt, page, {"attempt": attempt, "depth": page.depth, "links": list(page.links)})
            for page in pages
            if page.links
        ]
        await asyncio.gather(
            self._write(self._texts, text_writes, attempt), self._write(self._links, link_writes, attempt)
        )
        await self._write(
            self._pages,
            [_fenced(job_id, attempt, page, page_document(page, attempt=attempt, at=at)) for page in pages],
            attempt,
        )

    async def resume(self, job_id: str) -> AsyncIterator[SeenPage]:
        """Every stored page of a job, in the order of their keys.

        Raises:
            StoreUnavailableError: MongoDB did not answer.
        """
        async for document in self._scan(self._pages, job_id, SEEN_FIELDS):
            yield seen_page(document)

    async def links(self, job_id: str) -> AsyncIterator[tuple[int, list[str]]]:
        """Depth and links of every stored page that has any.

        Raises:
            StoreUnavailableError: MongoDB did not answer.
        """
        async for document in self._scan(self._links, job_id, {"depth": 1, "links": 1}):
            yield document["depth"], document["links"]

    async def pages(self, job_id: str, after: str | None = None, limit: int = 100) -> tuple[list[PageView], str | None]:
        """A stretch of the pages of a job, in the order of their keys, and the cursor of the next one.

        Args:
            job_id: The job.
            after: The cursor that an earlier call returned, None to begin.
            limit: At most so many pages, up to `MAX_PAGE_LIMIT`.

        Raises:
            ValidationFailedError: The cursor is not one of ours.
            StoreUnavailableError: MongoDB did not answer.
        """
        limit = max(1, min(limit, MAX_PAGE_LIMIT))
        found = await self._after(
            self._pages, job_id, _checked_cursor(after), fields=None, limit=limit + 1, seconds=READ_SECONDS
        )
        cursor = str(found[limit - 1]["_id"]).rpartition(":")[2] if len(found) > limit else None
        return [page_view(document) for document in found[:limit]], cursor

    async def counts(self, job_id: str) -> dict[str, int]:
        """How many URLs ended in each state, and `bytes`, the sum over the pages that are ok.

        Reads every page document of the job on the server: seconds for a million of them.

        Raises:
            StoreUnavailableError: MongoDB did not answer.
        """
        counts = {"ok": 0, "failed": 0, "skipped": 0, "duplicate": 0, "bytes": 0}
        stages = [
            {"$match": {"_id": _range(job_id)}},
            {"$group": {"_id": "$state", "count": {"$sum": 1}, "bytes": {"$sum": "$bytes"}}},
        ]
        with _reading("crawl counts", SCAN_SECONDS):
            for group in await self._pages.aggregate(stages).to_list(None):
                counts[group["_id"]] = group["count"]
                counts["bytes"] += group["bytes"] if group["_id"] == "ok" else 0
        return counts

    async def _write(self, collection: Any, writes: Sequence[UpdateOne | ReplaceOne[Document]], attempt: int) -> None:
        if not writes:
            return
        with _writing("crawl pages", WRITE_SECONDS):
            try:
                await collection.bulk_write(writes, ordered=False)
            except BulkWriteError as error:
                failures = (error.details or {}).get("writeErrors", [])
                refused = [failure["op"]["q"]["_id"] for failure in failures if failure["code"] == DUPLICATE_KEY]
                if not refused:
                    raise
                # The filter of a newer document's upsert does not match, so the server tried to insert beside it.
                if await collection.count_documents({"_id": {"$in": refused}, "attempt": {"$gt": attempt}}):
                    raise LeaseLost("a newer attempt of this job stores its pages now") from None
                raise OutcomeUnknownError("two writes of one page met; save it again") from None

    async def _scan(self, collection: Any, job_id: str, fields: dict[str, int]) -> AsyncIterator[Document]:
        # Stretch by stretch instead of one long cursor: each has its own time limit, and none can expire.
        last = ""
        while True:
            batch = await self._after(collection, job_id, last, fields=fields, limit=RESUME_BATCH, seconds=SCAN_SECONDS)
            for document in batch:
                yield document
            if len(batch) < RESUME_BATCH:
                return
            last = str(batch[-1]["_id"]).rpartition(":")[2]

    async def _after(
        self, collection: Any, job_id: str, last: str, *, fields: dict[str, int] | None, limit: int, seconds: float
    ) -> list[Document]:
        query = {"_id": _range(job_id, last)}
        with _reading("crawl pages", seconds):
            found: list[Document] = (
                await collection.find(query, fields).sort("_id", ASCENDING).limit(limit).to_list(limit)
            )
        return found


def _fenced(job_id: str, attempt: int, page: StoredPage, fields: Document) -> ReplaceOne[Document]:
    # Replaced whole: no field of an earlier attempt stays behind.
    key = f"{job_id}:{url_hash(page.url).hex()}"
    return ReplaceOne({"_id": key, "attempt": {"$lte": attempt}}, fields, upsert=True)


def _range(job_id: str, after: str = "") -> Document:
    # ';' follows ':' in ASCII, so this is every id that begins with "<job>:".
    return {"$gt": f"{job_id}:{after}", "$lt": f"{job_id};"}


def _checked_cursor(cursor: str | None) -> str:
    if cursor is None:
        return ""
    if len(cursor) != HASH_BYTES * 2 or set(cursor) - set("0123456789abcdef"):
        problem = FieldError("cursor", "cursor", "must be a next_cursor of an earlier answer", location="query")
        raise ValidationFailedError("the cursor is not valid", errors=[problem])
    return cursor


@contextmanager
def _reading(what: str, seconds: float) -> Iterator[None]:
    with _translated(what), reading(what, seconds=seconds):
        yield


@contextmanager
def _writing(what: str, seconds: float) -> Iterator[None]:
    with _translated(what), writing(what, seconds=seconds):
        yield


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        # Whatever the driver raises beyond what `faults` knows still leaves here as ours.
        raise StoreUnavailableError(f"MongoDB refused ({what})") from error
