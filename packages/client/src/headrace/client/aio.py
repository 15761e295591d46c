"""The asynchronous client."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self

from headrace.client.problems import error_of_problem
from headrace.client.transport import Transport
from headrace.contracts.api import HistoryView, JobView, PageList, PageView, WhyView
from headrace.contracts.errors import ApiError, NotFoundError
from headrace.contracts.submission import MAX_BATCH_JOBS

_ID = re.compile(r"[A-Za-z0-9-]{1,100}")


class Client:
    """Talks to a scheduler. Use it as `async with Client(url) as client`.

    429 and 503 are tried again a bounded number of times, after `Retry-After` if the server says one; so are requests
    that got no answer. That is safe: a submission carries one `Idempotency-Key` through all its tries.

    Args:
        base_url: Where the scheduler answers, such as `http://127.0.0.1:8080`.
        token: The bearer token, where the server wants one.
        tries: How often one request is sent at most.
        timeout_seconds: For one try.

    Every method raises the exceptions of `headrace.contracts.errors` by the server's problem code, and
    `NotReachableError` when no try got an answer.
    """

    def __init__(
        self, base_url: str, token: str | None = None, *, tries: int = 5, timeout_seconds: float = 30.0
    ) -> None:
        self._transport = Transport(base_url, token=token, tries=tries, timeout_seconds=timeout_seconds)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.__aexit__()

    async def submit(self, type: str, payload: Any, *, idempotency_key: str | None = None, **options: Any) -> JobView:
        """Have a job done.

        Args:
            type: The job type.
            payload: Any JSON its type accepts.
            idempotency_key: Submitting again with the same key and body gives the same job; a new key by default.
            **options: Further fields of the submission, such as `priority="high"` or `delay_seconds=5`.

        Raises:
            OutcomeUnknownError: The last try was sent but not confirmed; submit again with its key to find out.
        """
        key = idempotency_key or uuid.uuid4().hex
        found = await self._transport.request(
            "POST",
            "/v1/jobs",
            body={"type": type, "payload": payload, **options},
            headers={"Idempotency-Key": key},
        )
        return _job(found)

    async def submit_many(self, jobs: Sequence[Mapping[str, Any]]) -> list[JobView | ApiError]:
        """Have many jobs done, a thousand per request.

        Args:
            jobs: Submissions with `type`, `payload` and whatever else `submit` takes; one without an
                `idempotency_key` gets a new one, so that nothing is made twice however often a request is sent.

        Returns:
            For each, in order, the job, or the exception that `submit` would have raised. Items that were refused are
            not tried again.
        """
        keyed = [{**job, "idempotency_key": job.get("idempotency_key") or uuid.uuid4().hex} for job in jobs]
        outcomes: list[JobView | ApiError] = []
        for first in range(0, len(keyed), MAX_BATCH_JOBS):
            body = {"jobs": keyed[first : first + MAX_BATCH_JOBS]}
            found = await self._transport.request("POST", "/v1/jobs/batch", body=body)
            outcomes += [_outcome(item) for item in found["results"]]
        return outcomes

    async def replay(self, job_id: str, *, idempotency_key: str | None = None) -> JobView:
        """Run a job that is over again, as a new job.

        Args:
            job_id: The job.
            idempotency_key: Asking again with the same key gives the same replay; a new key by default.

        Raises:
            NotTerminalError: It is not over.
            DuplicateJobError: Another job holds its unique key now.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return _job(await self._transport.request("POST", _path(job_id) + "/replay", headers=headers))

    async def why(self, job_id: str) -> WhyView:
        """Why the job does not run, or that it does."""
        return WhyView.model_validate(await self._transport.request("GET", _path(job_id) + "/why"), extra="ignore")

    async def get(self, job_id: str) -> JobView:
        """The job as it stands now."""
        return _job(await self._transport.request("GET", _path(job_id)))

    async def cancel(self, job_id: str) -> JobView:
        """Ask for the job to be cancelled. It never completes after that; a running one takes a moment to stop.

        Raises:
            AlreadyTerminalError: It is completed or failed.
        """
        return _job(await self._transport.request("POST", _path(job_id) + "/cancel"))

    async def history(self, job_id: str) -> HistoryView:
        """Every step of the job and its last errors."""
        found = await self._transport.request("GET", _path(job_id) + "/history")
        return HistoryView.model_validate(found, extra="ignore")

    async def pages(self, job_id: str) -> AsyncIterator[PageView]:
        """Every stored page of a crawl job, fetched from the server piece by piece."""
        query: dict[str, str] = {}
        while True:
            found = await self._transport.request("GET", _path(job_id) + "/pages", query=query)
            stretch = PageList.model_validate(found, extra="ignore")
            for page in stretch.pages:
                yield page
            if stretch.next_cursor is None:
                return
            query = {"cursor": stretch.next_cursor}

    async def wait(self, job_id: str, timeout: float | None = None) -> JobView:
        """The job once it is over, however it ended: look at its `state`.

        Args:
            job_id: The job.
            timeout: Seconds; None waits for ever.

        Raises:
            TimeoutError: It was not over in time. The job itself goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.05
        while True:
            job = await self.get(job_id)
            if job.state.is_terminal:
                return job
            if deadline is not None and time.monotonic() + pause > deadline:
                raise TimeoutError(f"job {job_id} is still {job.state} after {timeout} s")
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 1.5)


def _path(job_id: str) -> str:
    # Ids are plain words; anything else could name another path of the server.
    if not _ID.fullmatch(job_id):
        raise NotFoundError("there is no such job: an id is made of letters, digits and hyphens")
    return f"/v1/jobs/{job_id}"


def _outcome(item: Mapping[str, Any]) -> JobView | ApiError:
    if "job" in item:
        return _job(item["job"])
    return error_of_problem(int(item["status"]), item["problem"])


def _job(found: Any) -> JobView:
    # A newer server may tell more than this client knows.
    return JobView.model_validate(found, extra="ignore")
