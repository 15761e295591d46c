"""How an attempt ended, as a settlement: one pure decision for every way an executor can end."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

from headrace.contracts.errors import PermanentError, Retry
from headrace.contracts.job import Job, JobError
from headrace.contracts.retry import RetryPolicy
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store.values import Settlement

MESSAGE_LIMIT = 2000
_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+|'[^']*'|\"[^\"]*\"")


class ResultError(PermanentError):
    """The result is no JSON or too large; running the job again would give the same."""


def fingerprint(type_: str, message: str) -> str:
    """Equal for errors of one kind: numbers, ids and quoted parts do not count."""
    text = f"{type_}\0{_VARIABLE.sub('#', message)}"
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=8).hexdigest()


def to_job_error(error: BaseException, *, type_: str | None = None) -> JobError:
    """The record of an exception."""
    kind = type(error)
    plain = kind.__module__ in {"builtins", "headrace.contracts.errors"}
    name = type_ or (kind.__name__ if plain else f"{kind.__module__}.{kind.__qualname__}")
    # Lone surrogates and NUL are legal in Python text and not in BSON strings or on terminals.
    message = str(error).encode("utf-8", "replace").decode().replace("\0", "�")[:MESSAGE_LIMIT]
    return JobError(type=name, message=message, fingerprint=fingerprint(name, message), at=datetime.now(UTC))


def encode_result(result: Any, *, limit_bytes: int) -> str | None:
    """The result as JSON text.

    Raises:
        ResultError: It is no JSON, or larger than the limit.
    """
    if result is None:
        return None
    try:
        text = json.dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultError(f"the result is not JSON: {error}") from None
    if size > limit_bytes:
        raise ResultError(f"the result has {size} bytes as JSON; {limit_bytes} are allowed")
    return text


def completed(
    job: Job, result: str | None, *, started_ms_ago: int, progress: tuple[float, str] | None = None
) -> Settlement:
    """The job did what it should. Its last progress travels along."""
    return Settlement(
        job.id,
        job.attempt,
        JobState.COMPLETED,
        Reason.COMPLETED,
        result=result,
        started_ms_ago=started_ms_ago,
        progress=progress,
    )


def failed(
    job: Job, error: BaseException, *, policy: RetryPolicy, jitter: float, started_ms_ago: int | None
) -> Settlement:
    """The job raised: again later, or over.

    Args:
        job: As claimed.
        error: What it raised; a `TimeoutError` of the job's own limit is passed as `JobTimeout`.
        policy: The type's retry policy.
        jitter: From 0 to 1.
        started_ms_ago: For `started_at`.
    """
    timed_out = isinstance(error, JobTimeout)
    record = to_job_error(error, type_="timeout" if timed_out else None)
    failures = job.failures + 1
    if isinstance(error, PermanentError) or failures > job.max_retries:
        return Settlement(
            job.id,
            job.attempt,
            JobState.FAILED,
            Reason.TIMEOUT if timed_out else Reason.FAILED,
            error=record,
            counts_failure=True,
            started_ms_ago=started_ms_ago,
        )
    delay = policy.delay_seconds(failures, jitter)
    if isinstance(error, Retry) and error.delay_seconds is not None:
        delay = max(0.0, error.delay_seconds)
    return Settlement(
        job.id,
        job.attempt,
        JobState.QUEUED,
        Reason.TIMEOUT if timed_out else Reason.RETRY,
        error=record,
        delay_ms=int(delay * 1000),
        counts_failure=True,
        started_ms_ago=started_ms_ago,
    )


def released(job: Job, *, started_ms_ago: int | None = None) -> Settlement:
    """The job goes back without cost."""
    return Settlement(job.id, job.attempt, JobState.QUEUED, Reason.RELEASED, started_ms_ago=started_ms_ago)


def cancelled(job: Job, *, started_ms_ago: int | None = None) -> Settlement:
    """The accepted cancel is carried out."""
    return Settlement(job.id, job.attempt, JobState.CANCELLED, Reason.CANCELLED, started_ms_ago=started_ms_ago)


class JobTimeout(Exception):  # noqa: N818  -- an outcome, not an error of ours
    """The job ran longer than its `timeout_seconds`."""
