"""The job that crawls a site and stores its pages."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

from pydantic import BaseModel, JsonValue

from headrace.contracts.errors import ConfigError, DependencyDown, JobCancelled, StoreUnavailableError
from headrace.contracts.executor import ExecutionPolicy, JobContext, JobExecutor
from headrace.runtime.store.crawl_results import CrawlResults, StoredPage
from headrace.worker.crawler.crawler import Crawler, Stopped
from headrace.worker.crawler.pages import Counts
from headrace.worker.crawler.payload import CrawlPayload
from headrace.worker.crawler.writer import PageWriter
from headrace.worker.resources import WorkerResources

LOOK_SECONDS = 0.1
PROGRESS_PAGES = 10
PROGRESS_SECONDS = 0.5
CHECKPOINT_SECONDS = 1.0
MAX_PARKS = 24
"""Attempts in a row that may end without a new page because a host does not answer, which takes an hour or two. Then
its pages are failures like others, so that the job ends."""


class CrawlJobExecutor(JobExecutor[CrawlPayload]):
    """Crawls politely and durably.

    Pages are stored as they come; a later attempt of the same job goes on from what is stored and fetches none of it
    again. Pages of the last half second before a crash are fetched twice.

    Result: `{"pages", "failed", "skipped", "duplicates", "bytes", "seconds", "stopped"}` over all attempts; `seconds`
    leaves out what an attempt ran after its last checkpoint before it died.

    While a host that it starts at does not answer, the job is parked: it waits without cost and goes on from there.
    """

    job_type: ClassVar[str] = "crawl"
    payload_model: ClassVar[type[BaseModel]] = CrawlPayload
    policy: ClassVar[ExecutionPolicy] = ExecutionPolicy(pool="crawl", slots_per_process=4)

    def __init__(self) -> None:
        self._resources: WorkerResources | None = None

    def use(self, resources: WorkerResources) -> None:
        """Take the store and the settings; called once by the worker before the first job."""
        self._resources = resources

    async def execute(self, context: JobContext, payload: CrawlPayload) -> JsonValue:
        """Crawl.

        Raises:
            JobCancelled: A cancel was asked for; within a second of it.
            LeaseLost: This attempt no longer counts.
            DependencyDown: A host does not answer.
            StoreUnavailableError: The store stayed away for too long.
        """
        if self._resources is None:
            raise ConfigError("the crawl executor was given no store: call use() before execute()")
        run = _CrawlRun(context, payload, self._resources)
        try:
            return await run.run()
        except BaseExceptionGroup as group:
            raise _first_of(group) from None


class _CrawlRun:
    """One attempt of one crawl job."""

    def __init__(self, context: JobContext, payload: CrawlPayload, resources: WorkerResources) -> None:
        self._context = context
        self._results: CrawlResults = resources.crawl_results
        self._writer = PageWriter(self._save, self._save_checkpoint)
        self._parks = _number_of(context.checkpoint, "parks")
        self._crawler = Crawler(
            payload,
            keep=self._keep,
            allow_private=resources.config.crawl_allow_private,
            dependency=context.dependency if self._parks < MAX_PARKS else None,
        )
        self._durable = Counts()
        self._reported = 0
        self._report_due = asyncio.Event()
        self._checkpoint_at = -math.inf
        self._earlier_seconds = _number_of(context.checkpoint, "seconds")
        self._began = time.monotonic()

    async def run(self) -> JsonValue:
        down: DependencyDown | None = None
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._watch())
            is_resumed = await self._remember()
            writer = tasks.create_task(self._writer.run())
            try:
                stopped = await self._crawl(is_resumed=is_resumed)
            except DependencyDown as error:
                down = error
            await self._writer.close()
            await writer
            watch.cancel()
        await self._report()
        if down is not None:
            await self._save_counts(parks=int(self._parks) + 1)
            raise down
        counts = self._crawler.counts
        return {
            "pages": counts.ok,
            "failed": counts.failed,
            "skipped": counts.skipped,
            "duplicates": counts.duplicate,
            "bytes": counts.bytes,
            "seconds": self._seconds(),
            "stopped": stopped,
        }

    async def _remember(self) -> bool:
        """Take over what earlier attempts stored; whether there was anything."""
        is_resumed = False
        async for page in self._results.resume(self._context.job_id):
            self._crawler.remember(page)
            self._durable.add(page.state, page.bytes)
            is_resumed = True
        return is_resumed

    async def _crawl(self, *, is_resumed: bool) -> Stopped:
        stopped = await self._crawler.crawl()
        while is_resumed and stopped == "complete" and await self._look_for_lost_links():
            stopped = await self._crawler.crawl()
        return stopped

    async def _look_for_lost_links(self) -> bool:
        """Whether a stored page links to something nobody fetched.

        The page that first named it was lost in the crash and did not name it again.
        """
        is_news = False
        async for depth, links in self._results.links(self._context.job_id):
            is_news = self._crawler.remember_links(links, depth + 1) or is_news
        return is_news

    async def _watch(self) -> None:
        """Report progress and notice a cancel, whatever the pages are waiting for."""
        reported_at = 0.0
        while True:
            if self._context.cancelled:
                # It knows which of its errors applies.
                await self._report()
                raise JobCancelled("a cancel was asked for")
            is_news = self._crawler.counts.done != self._reported
            if self._report_due.is_set() or (is_news and time.monotonic() - reported_at >= PROGRESS_SECONDS):
                reported_at = time.monotonic()
                await self._report()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._report_due.wait()

    async def _report(self) -> None:
        self._report_due.clear()
        self._reported = self._crawler.counts.done
        pages, expected = self._crawler.counts.ok, self._crawler.expected
        # Said again soon; a store that is away ends the crawl only when pages cannot be saved for long.
        with suppress(StoreUnavailableError):
            await self._context.report_progress(pages / expected if expected else 1.0, f"{pages} of {expected} pages")

    async def _keep(self, page: StoredPage) -> None:
        if self._crawler.counts.done - self._reported >= PROGRESS_PAGES:
            self._report_due.set()
        await self._writer.put(page)

    async def _save(self, pages: Sequence[StoredPage]) -> None:
        await self._results.save(self._context.job_id, self._context.attempt, pages)
        for page in pages:
            self._durable.add(page.state, page.bytes)
        self._parks = 0

    async def _save_checkpoint(self) -> None:
        """Save how much is durable, not how much is done; about once a second, for each save is a write of its own."""
        now = time.monotonic()
        if now - self._checkpoint_at < CHECKPOINT_SECONDS:
            return
        self._checkpoint_at = now
        await self._save_counts()

    async def _save_counts(self, **more: int) -> None:
        counts = {"pages": self._durable.ok, "bytes": self._durable.bytes, "seconds": self._seconds()}
        with suppress(StoreUnavailableError):
            await self._context.save_checkpoint({**counts, **more})

    def _seconds(self) -> float:
        return round(self._earlier_seconds + time.monotonic() - self._began, 3)


def _number_of(checkpoint: JsonValue, name: str) -> float:
    number = checkpoint.get(name) if isinstance(checkpoint, dict) else None
    return float(number) if isinstance(number, int | float) else 0.0


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first
