"""The same client for code without an event loop."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any, Self, Unpack

from headrace.client.aio import Client
from headrace.client.environment import read_access
from headrace.client.events import Event
from headrace.client.jobs import JobFilter
from headrace.client.loop_thread import LoopThread
from headrace.client.operate import DeadFilter, PoolSizes
from headrace.client.submission import Submission, SubmitOptions
from headrace.contracts.api import (
    AuditEntryView,
    BreakerReset,
    BreakerView,
    DeadLetterGroup,
    DeadLetterResult,
    HistoryView,
    JobList,
    JobLogLine,
    JobLogPage,
    JobSummary,
    JobTypeView,
    JobView,
    PageView,
    PoolView,
    WhyView,
)
from headrace.contracts.errors import ApiError


class SyncClient:
    """`Client` for plain functions: the same methods, each of which blocks. Use it as `with SyncClient(url) as client`.

    One may serve many threads, which share its connections. It runs a thread of its own while it is open, so open it
    after a fork, not before. See `Client` for the arguments and for what is raised.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        tries: int = 5,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 60.0,
        connections: int = 100,
    ) -> None:
        self._client = Client(
            base_url,
            token,
            tries=tries,
            timeout_seconds=timeout_seconds,
            patience_seconds=patience_seconds,
            connections=connections,
        )
        self._opened: LoopThread | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """See `Client.from_environment`."""
        access = read_access()
        return cls(access.url, access.token)

    def __enter__(self) -> Self:
        self._opened = LoopThread()
        self._opened.run(self._client.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        opened, self._opened = self._loop, None
        opened.run(self._client.__aexit__())
        opened.close()

    @property
    def _loop(self) -> LoopThread:
        if self._opened is None:
            raise RuntimeError("use the client as `with SyncClient(...) as client`")
        return self._opened

    def submit(
        self, type: str, payload: Any, *, idempotency_key: str | None = None, **options: Unpack[SubmitOptions]
    ) -> JobView:
        """See `Client.submit`."""
        return self._loop.run(self._client.submit(type, payload, idempotency_key=idempotency_key, **options))

    def submit_many(self, jobs: Iterable[Submission]) -> list[JobView | ApiError]:
        """See `Client.submit_many`."""
        return self._loop.run(self._client.submit_many(jobs))

    def get(self, job_id: str) -> JobView:
        """See `Client.get`."""
        return self._loop.run(self._client.get(job_id))

    def job_page(self, cursor: str | None = None, limit: int = 50, **which: Unpack[JobFilter]) -> JobList:
        """See `Client.job_page`."""
        return self._loop.run(self._client.job_page(cursor, limit, **which))

    def jobs(self, **which: Unpack[JobFilter]) -> Generator[JobSummary, None, None]:
        """See `Client.jobs`."""
        return self._loop.iterate(self._client.jobs(**which))

    def wait(self, job_id: str, timeout: float | None = None) -> JobView:
        """See `Client.wait`."""
        return self._loop.run(self._client.wait(job_id, timeout))

    def wait_all(self, job_ids: Sequence[str], timeout: float | None = None) -> list[JobView]:
        """See `Client.wait_all`."""
        return self._loop.run(self._client.wait_all(job_ids, timeout))

    def cancel(self, job_id: str) -> JobView:
        """See `Client.cancel`."""
        return self._loop.run(self._client.cancel(job_id))

    def replay(self, job_id: str, *, idempotency_key: str | None = None) -> JobView:
        """See `Client.replay`."""
        return self._loop.run(self._client.replay(job_id, idempotency_key=idempotency_key))

    def why(self, job_id: str) -> WhyView:
        """See `Client.why`."""
        return self._loop.run(self._client.why(job_id))

    def history(self, job_id: str) -> HistoryView:
        """See `Client.history`."""
        return self._loop.run(self._client.history(job_id))

    def log_page(self, job_id: str, after: int = 0) -> JobLogPage:
        """See `Client.log_page`."""
        return self._loop.run(self._client.log_page(job_id, after))

    def logs(self, job_id: str, *, follow: bool = False) -> Generator[JobLogLine, None, None]:
        """See `Client.logs`."""
        return self._loop.iterate(self._client.logs(job_id, follow=follow))

    def pages(self, job_id: str) -> Generator[PageView, None, None]:
        """See `Client.pages`."""
        return self._loop.iterate(self._client.pages(job_id))

    def follow(self, job_id: str, *, resume_at: str | None = None) -> Generator[Event, None, None]:
        """See `Client.follow`."""
        return self._loop.iterate(self._client.follow(job_id, resume_at=resume_at))

    def events(
        self, *, type: str | None = None, pool: str | None = None, resume_at: str | None = None
    ) -> Generator[Event, None, None]:
        """See `Client.events`."""
        return self._loop.iterate(self._client.events(type=type, pool=pool, resume_at=resume_at))

    def dead_letter_page(self, cursor: str | None = None, limit: int = 50, **which: Unpack[DeadFilter]) -> JobList:
        """See `Client.dead_letter_page`."""
        return self._loop.run(self._client.dead_letter_page(cursor, limit, **which))

    def dead_letters(self, **which: Unpack[DeadFilter]) -> Generator[JobSummary, None, None]:
        """See `Client.dead_letters`."""
        return self._loop.iterate(self._client.dead_letters(**which))

    def dead_letter_groups(self, **which: Unpack[DeadFilter]) -> list[DeadLetterGroup]:
        """See `Client.dead_letter_groups`."""
        return self._loop.run(self._client.dead_letter_groups(**which))

    def replay_dead_letters(
        self, *, ids: Sequence[str] | None = None, limit: int = 1000, dry_run: bool = False, **which: Unpack[DeadFilter]
    ) -> DeadLetterResult:
        """See `Client.replay_dead_letters`."""
        work = self._client.replay_dead_letters(ids=ids, limit=limit, dry_run=dry_run, **which)
        return self._loop.run(work)

    def discard_dead_letters(
        self, *, ids: Sequence[str] | None = None, limit: int = 1000, dry_run: bool = False, **which: Unpack[DeadFilter]
    ) -> DeadLetterResult:
        """See `Client.discard_dead_letters`."""
        work = self._client.discard_dead_letters(ids=ids, limit=limit, dry_run=dry_run, **which)
        return self._loop.run(work)

    def pools(self) -> list[PoolView]:
        """See `Client.pools`."""
        return self._loop.run(self._client.pools())

    def pool(self, name: str) -> PoolView:
        """See `Client.pool`."""
        return self._loop.run(self._client.pool(name))

    def pause_pool(self, name: str, reason: str = "") -> PoolView:
        """See `Client.pause_pool`."""
        return self._loop.run(self._client.pause_pool(name, reason))

    def resume_pool(self, name: str) -> PoolView:
        """See `Client.resume_pool`."""
        return self._loop.run(self._client.resume_pool(name))

    def resize_pool(self, name: str, **sizes: Unpack[PoolSizes]) -> PoolView:
        """See `Client.resize_pool`."""
        return self._loop.run(self._client.resize_pool(name, **sizes))

    def job_types(self) -> list[JobTypeView]:
        """See `Client.job_types`."""
        return self._loop.run(self._client.job_types())

    def breakers(self) -> list[BreakerView]:
        """See `Client.breakers`."""
        return self._loop.run(self._client.breakers())

    def reset_breaker(self, name: str) -> BreakerReset:
        """See `Client.reset_breaker`."""
        return self._loop.run(self._client.reset_breaker(name))

    def audit(self) -> Generator[AuditEntryView, None, None]:
        """See `Client.audit`."""
        return self._loop.iterate(self._client.audit())
