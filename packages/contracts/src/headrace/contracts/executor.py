"""The interface of job executors: what a plug-in implements and what it is given."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from headrace.contracts.errors import DependencyDown, JobCancelled, LeaseLost, PermanentError, Retry
from headrace.contracts.retry import RetryPolicy
from headrace.contracts.values import PoolName

__all__ = [
    "ENTRY_POINT_GROUP",
    "DependencyDown",
    "ExecutionPolicy",
    "JobCancelled",
    "JobContext",
    "JobExecutor",
    "JobLog",
    "LeaseLost",
    "PermanentError",
    "Retry",
    "SyncJobContext",
]

PayloadT = TypeVar("PayloadT", bound=BaseModel)

ENTRY_POINT_GROUP = "headrace.executors"
"""Where executors are registered: name = job type, value = the class."""


class ExecutionPolicy(BaseModel):
    """How jobs of a type are run, unless the submission says otherwise.

    `None` for a limit means the service's own default (`JOB_TIMEOUT_SECONDS`, `JOB_MAX_RETRIES`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pool: PoolName = "default"
    timeout_seconds: float | None = Field(default=None, ge=1, le=604_800)
    max_retries: int | None = Field(default=None, ge=0, le=100)
    retry: RetryPolicy = RetryPolicy()
    slots_per_process: int = Field(default=10, ge=1, le=1000)
    """How many jobs of this pool may share one process, unless `JOB_POOLS_FILE` says otherwise."""


class JobLog(Protocol):
    """The job's bound logger: `log.info("event.name", key=value)`."""

    def debug(self, event: str, **fields: Any) -> Any:
        """Log for developers."""

    def info(self, event: str, **fields: Any) -> Any:
        """Log what happened."""

    def warning(self, event: str, **fields: Any) -> Any:
        """Log what is odd."""

    def error(self, event: str, **fields: Any) -> Any:
        """Log what failed."""


class SyncJobContext(Protocol):
    """The waiting twin of the context's coroutines, for plain `execute` functions."""

    def report_progress(self, fraction: float, message: str = "") -> None:
        """See `JobContext.report_progress`."""

    def save_checkpoint(self, value: JsonValue) -> None:
        """See `JobContext.save_checkpoint`."""

    def dependency(self, name: str) -> AbstractContextManager[None]:
        """See `JobContext.dependency`."""


class JobContext(Protocol):
    """What a running job knows and may do. Every write it makes is guarded by its attempt."""

    @property
    def job_id(self) -> str:
        """The job."""

    @property
    def attempt(self) -> int:
        """The fencing token: give it to every store you write to, and let it refuse older ones."""

    @property
    def checkpoint(self) -> JsonValue:
        """The last checkpoint that any attempt saved, or None."""

    @property
    def scratch_dir(self) -> Path:
        """A folder of this attempt alone; made on first use, removed when the attempt ends."""

    @property
    def log(self) -> JobLog:
        """A logger that carries the job's id and attempt."""

    @property
    def cancelled(self) -> bool:
        """Whether a cancel was asked for or the attempt no longer counts. Plain functions look here now and then."""

    @property
    def sync(self) -> SyncJobContext:
        """The waiting forms, for plain `execute` functions."""

    async def report_progress(self, fraction: float, message: str = "") -> None:
        """Say how far the job is; cheap, saved at most about once a second.

        Args:
            fraction: From 0 to 1.
            message: One line for people.

        Raises:
            LeaseLost: This attempt no longer counts.
            JobCancelled: A cancel was asked for.
        """

    async def save_checkpoint(self, value: JsonValue) -> None:
        """Save where to go on from; durable when it returns.

        Args:
            value: JSON, at most `JOB_PAYLOAD_LIMIT_BYTES` as text.

        Raises:
            LeaseLost: This attempt no longer counts.
            JobCancelled: A cancel was asked for.
            ValueError: The value is too large or no JSON.
        """

    def dependency(self, name: str) -> AbstractAsyncContextManager[None]:
        """Use something that other jobs use too and that may be down: `async with context.dependency("mail"): ...`.

        An exception inside counts against it, except those that say something about the job (`Retry`,
        `PermanentError`). After a few in a row its breaker opens: jobs that come here are parked without a failure,
        and one at a time tries whether it works again.

        Args:
            name: The dependency, 1 to 200 characters, the same in every job that uses it.

        Raises:
            DependencyDown: The breaker is open, now or by what happened inside. Let it pass: it parks the job.
        """


class JobExecutor(ABC, Generic[PayloadT]):
    """Runs jobs of one type. One instance per worker process serves many jobs at once.

    `execute` is a coroutine function (runs on the process's event loop) or a plain function (runs on a thread of its
    own). It may run more than once for one job: make effects idempotent or guard them with `context.attempt`.
    """

    job_type: ClassVar[str]
    payload_model: ClassVar[type[BaseModel]]
    policy: ClassVar[ExecutionPolicy] = ExecutionPolicy()
    contract_version: ClassVar[int] = 1
    """The version of the payload's meaning, 1 or more. Stored with each job; a worker never claims a newer one."""

    @abstractmethod
    def execute(self, context: JobContext, payload: PayloadT) -> Awaitable[JsonValue] | JsonValue:
        """Do the job and return its result, at most `JOB_PAYLOAD_LIMIT_BYTES` as JSON text."""

    @classmethod
    def upcast(cls, payload: JsonValue, version: int) -> JsonValue:
        """Bring a payload of another version to this one. The worker calls it before it validates, never for equal.

        Unless overridden: an older payload is taken as it is, and the model decides whether it fits.

        Args:
            payload: As it was submitted, already parsed. Yours to change.
            version: The `contract_version` it was submitted under.

        Raises:
            ValueError: The version is newer than this executor knows. Whatever an executor raises here counts as the
                job's own error.
        """
        if version > cls.contract_version:
            raise ValueError(f"the payload has version {version}; {cls.contract_version} is the newest known here")
        return payload

    @classmethod
    def is_async(cls) -> bool:
        """Whether `execute` is a coroutine function."""
        return inspect.iscoroutinefunction(cls.execute)
