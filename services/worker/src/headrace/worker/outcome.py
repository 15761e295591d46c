"""How an attempt ended, as a settlement: one pure decision for every way an executor can end."""

from __future__ import annotations

import hashlib
import json
import math
import re
from datetime import UTC, datetime
from typing import Any

from headrace.contracts.errors import PermanentError, Retry
from headrace.contracts.job import Job, JobError
from headrace.contracts.retry import RetryPolicy
from headrace.contracts.states import JobState, Reason
from headrace.runtime.store.values import Settlement

MESSAGE_LIMIT = 2000
MAX_DELAY_SECONDS = 366 * 86_400.0
"""A retry waits no longer, whatever an executor asks for: far beyond it lies no date that a store can keep."""
_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+|'[^']*'|\"[^\"]*\"")


class ResultError(PermanentError):
    """The result is no JSON or too large; running the job again would give the same."""


def fingerprint(type_: str, message: str) -> str:
    """Equal for errors of one kind: numbers, ids and quoted parts do not count."""
    text = f"{type_}\0{_VARIABLE.sub('#', message)}"
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=8).hexdigest()


def clean_text(text: str) -> str:
    """The text as every store and terminal takes it: lone surrogates and NUL are legal in Python alone."""
    return text.encode("utf-8", "replace").decode().replace("\0", "�")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:  # noqa: BLE001 -- somebody else's code, which must not keep the job from its end
        return f"its text cannot be had: {type(problem).__name__}"


def to_job_error(error: BaseException, *, type_: str | None = None) -> JobError:
    """The record of an exception."""
    kind = type(error)
    # Ours go by their names alone, in whichever file they are: they are in stored jobs and in people's filters.
    plain = kind.__module__ == "builtins" or kind.__module__.startswith("headrace.contracts.")
    name = type_ or (kind.__name__ if plain else f"{kind.__module__}.{kind.__qualname__}")
    message = clean_text(_text_of(error))[:MESSAGE_LIMIT]
    return JobError(type=name, message=message, fingerprint=fingerprint(name, message), at=datetime.now(UTC))


def bounded_json(value: Any, *, what: str, limit_bytes: int) -> str:
    """A value of a job's as the JSON text that is stored.

    Raises:
        ValueError: It is no JSON, or larger than the limit; the message names it as `what`.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the {what} is not JSON: {error}") from None
    if size > limit_bytes:
        raise ValueError(f"the {what} has {size} bytes as JSON; {limit_bytes} are allowed")
    return text


def encode_result(result: Any, *, limit_bytes: int) -> str | None:
    """The result as JSON text.

    Raises:
        ResultError: It is no JSON, or larger than the limit.
    """
    if result is None:
        return None
    try:
        return bounded_json(result, what="result", limit_bytes=limit_bytes)
    except ValueError as error:
        raise ResultError(str(error)) from None


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
        delay = _usable(error.delay_seconds, instead=delay)
    return Settlement(
        job.id,
        job.attempt,
        JobState.QUEUED,
        Reason.TIMEOUT if timed_out else Reason.RETRY,
        error=record,
        delay_ms=int(min(delay, MAX_DELAY_SECONDS) * 1000),
        counts_failure=True,
        started_ms_ago=started_ms_ago,
    )


def _usable(seconds: float, *, instead: float) -> float:
    # An executor may say anything here, and a job whose settlement cannot be written would run for ever.
    try:
        asked = float(seconds)
    except (TypeError, ValueError):
        return instead
    except OverflowError:
        return MAX_DELAY_SECONDS
    return instead if math.isnan(asked) else max(0.0, asked)


def released(job: Job, *, started_ms_ago: int | None = None, delay_ms: int | None = None) -> Settlement:
    """The job goes back without cost; due again after the delay, if there is one."""
    return Settlement(
        job.id, job.attempt, JobState.QUEUED, Reason.RELEASED, started_ms_ago=started_ms_ago, delay_ms=delay_ms
    )


def cancelled(job: Job, *, started_ms_ago: int | None = None) -> Settlement:
    """The accepted cancel is carried out."""
    return Settlement(job.id, job.attempt, JobState.CANCELLED, Reason.CANCELLED, started_ms_ago=started_ms_ago)


class JobTimeout(Exception):  # noqa: N818  -- an outcome, not an error of ours
    """The job ran longer than its `timeout_seconds`."""
