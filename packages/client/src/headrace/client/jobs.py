"""The part of the client that is about jobs."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack

from headrace.client.calls import Calls, all_pages, outcome_of, path_of
from headrace.client.submission import PriorityName, Submission, SubmitOptions, body_of
from headrace.client.transport import NotReachableError
from headrace.contracts.api import (
    HistoryView,
    JobList,
    JobLogLine,
    JobLogPage,
    JobSummary,
    JobView,
    PageList,
    PageView,
    WhyView,
)
from headrace.contracts.errors import ApiError, StoreUnavailableError
from headrace.contracts.states import JobState
from headrace.contracts.submission import MAX_BATCH_JOBS

PAGE_JOBS = 200
_LOG_LINES = 500
_ASKED_AT_ONCE = 8


class JobFilter(TypedDict, total=False):
    """Which jobs. Everything given must hold; None is not given."""

    state: JobState | str | None
    type: str | None
    pool: str | None
    priority: PriorityName | None
    tag: str | None
    """`name:value`."""
    created_after: datetime | None
    created_before: datetime | None


class JobCalls(Calls):
    """Submit jobs, look at them, wait for them, end them."""

    async def submit(
        self, type: str, payload: Any, *, idempotency_key: str | None = None, **options: Unpack[SubmitOptions]
    ) -> JobView:
        """Have a job done.

        Args:
            type: The job type.
            payload: Any JSON its type accepts; pydantic models are written as JSON.
            idempotency_key: Submitting again with the same key and body gives the same job; a new key by default.
            **options: See `SubmitOptions`.

        Raises:
            ValidationFailedError: Type, payload or an option breaks a rule; its `errors` say which.
            DuplicateJobError: Another job holds the `unique_key`; its `job_id` says which.
            QueueFullError: The pool is full, and was so at every try.
            OutcomeUnknownError: The last try was sent but not confirmed; submit again with its key to find out.
        """
        key = idempotency_key or uuid.uuid4().hex
        return await self._post(JobView, "/v1/jobs", body_of(type, payload, options), key=key)

    async def submit_many(self, jobs: Iterable[Submission]) -> list[JobView | ApiError]:
        """Have many jobs done, a thousand per request.

        Args:
            jobs: Each with `type`, `payload` and whatever else `submit` takes; one without an `idempotency_key` gets a
                new one, so that nothing is made twice however often a request is sent.

        Returns:
            For each, in order, the job, or the exception that `submit` would have raised. Items that were refused are
            not tried again.

        Raises:
            ApiError: A whole request was refused; earlier thousands are submitted.
        """
        keyed = [_keyed(job) for job in jobs]
        outcomes: list[JobView | ApiError] = []
        for first in range(0, len(keyed), MAX_BATCH_JOBS):
            body = {"jobs": keyed[first : first + MAX_BATCH_JOBS]}
            found = await self._transport.request("POST", "/v1/jobs/batch", body=body)
            outcomes += [outcome_of(item) for item in found["results"]]
        return outcomes

    async def get(self, job_id: str) -> JobView:
        """The job as it stands now.

        Raises:
            NotFoundError: There is no such job, or not for this token.
        """
        return await self._get(JobView, path_of("jobs", job_id))

    async def job_page(self, cursor: str | None = None, limit: int = 50, **which: Unpack[JobFilter]) -> JobList:
        """Up to `limit` (at most 200) jobs, newest first, without payload and result, and the cursor of the next."""
        return await self._get(JobList, "/v1/jobs", {**which, "cursor": cursor, "limit": limit})

    def jobs(self, **which: Unpack[JobFilter]) -> AsyncGenerator[JobSummary, None]:
        """Every job that matches, newest first, fetched page by page. Jobs submitted meanwhile are not among them."""

        async def fetch(cursor: str | None) -> tuple[list[JobSummary], str | None]:
            page = await self.job_page(cursor, PAGE_JOBS, **which)
            return page.jobs, page.next_cursor

        return all_pages(fetch)

    async def wait(self, job_id: str, timeout: float | None = None) -> JobView:
        """The job once it is over, however it ended: look at its `state`.

        The server may be away meanwhile, for the client's `patience_seconds`.

        Args:
            job_id: The job.
            timeout: Seconds; None waits for ever.

        Raises:
            TimeoutError: It was not over in time. The job itself goes on.
        """
        state = "unknown"

        async def look_until_over() -> JobView:
            nonlocal state
            seen_at, pause = time.monotonic(), 0.05
            while True:
                try:
                    job = await self.get(job_id)
                except (NotReachableError, StoreUnavailableError):
                    if time.monotonic() - seen_at > self._patience_seconds:
                        raise
                else:
                    seen_at, state = time.monotonic(), str(job.state)
                    if job.state.is_terminal:
                        return job
                await asyncio.sleep(pause)
                pause = min(1.0, pause * 1.5)

        try:
            async with asyncio.timeout(timeout):
                return await look_until_over()
        except TimeoutError:
            raise TimeoutError(f"job {job_id} is still {state} after {timeout} s") from None

    async def wait_all(self, job_ids: Sequence[str], timeout: float | None = None) -> list[JobView]:
        """The jobs, in the order given, once all of them are over. Asks for a few at a time.

        Raises:
            TimeoutError: Not all were over in time. The jobs themselves go on.
        """
        began, places = time.monotonic(), asyncio.Semaphore(_ASKED_AT_ONCE)

        async def wait_one(job_id: str) -> JobView:
            async with places:
                left = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
                return await self.wait(job_id, left)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(wait_one(job_id)) for job_id in job_ids]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def cancel(self, job_id: str) -> JobView:
        """Ask for the job to be cancelled. It never completes after that; a running one takes a moment to stop.

        Raises:
            AlreadyTerminalError: It is completed or failed.
        """
        return await self._post(JobView, path_of("jobs", job_id, "cancel"))

    async def replay(self, job_id: str, *, idempotency_key: str | None = None) -> JobView:
        """Run a job that is over again, as a new job.

        Args:
            job_id: The job.
            idempotency_key: Asking again with the same key gives the same replay; a new key by default.

        Raises:
            NotTerminalError: It is not over.
            DuplicateJobError: Another job holds its unique key now.
        """
        return await self._post(JobView, path_of("jobs", job_id, "replay"), key=idempotency_key or uuid.uuid4().hex)

    async def why(self, job_id: str) -> WhyView:
        """Why the job does not run, or that it does."""
        return await self._get(WhyView, path_of("jobs", job_id, "why"))

    async def history(self, job_id: str) -> HistoryView:
        """Every step of the job and its last errors."""
        return await self._get(HistoryView, path_of("jobs", job_id, "history"))

    async def log_page(self, job_id: str, after: int = 0) -> JobLogPage:
        """Up to 500 lines of what the job printed or logged, oldest first, behind the `next_after` of another page."""
        return await self._get(JobLogPage, path_of("jobs", job_id, "logs"), {"after": after, "limit": _LOG_LINES})

    async def logs(self, job_id: str, *, follow: bool = False) -> AsyncGenerator[JobLogLine, None]:
        """Every line that the job printed or logged and that is kept, oldest first.

        Args:
            job_id: The job.
            follow: Wait for further lines until the job is over. They come with a delay of about a second.
        """
        after = 0
        while True:
            is_over = (
                not follow or (await self.get(job_id)).state.is_terminal
            )  # first: what it says now may be its last
            page = await self.log_page(job_id, after)
            for line in page.lines:
                yield line
            after = page.next_after
            if len(page.lines) == _LOG_LINES:
                continue
            if is_over:
                return
            await asyncio.sleep(0.5)

    def pages(self, job_id: str) -> AsyncGenerator[PageView, None]:
        """Every stored page of a crawl job, fetched from the server piece by piece."""

        async def fetch(cursor: str | None) -> tuple[list[PageView], str | None]:
            found = await self._get(PageList, path_of("jobs", job_id, "pages"), {"cursor": cursor})
            return found.pages, found.next_cursor

        return all_pages(fetch)


def _keyed(job: Submission) -> dict[str, Any]:
    given = dict(job)
    type, payload, key = given.pop("type"), given.pop("payload"), given.pop("idempotency_key", None)
    return {**body_of(str(type), payload, given), "idempotency_key": key or uuid.uuid4().hex}
