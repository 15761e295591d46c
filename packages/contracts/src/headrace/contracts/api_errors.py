"""Errors that the HTTP API answers with a problem document: a code, a status, a title."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from headrace.contracts.error_base import HeadraceError


@dataclass(frozen=True)
class FieldError:
    """One refused field: where it is, which rule it breaks, and how to mend it. Never the value itself."""

    pointer: str
    code: str
    detail: str
    location: str = "body"


class ApiError(HeadraceError):
    """An error that the HTTP API answers with a problem document."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something failed here"

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        retry_after_seconds: float | None = None,
        job_id: str | None = None,
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = tuple(errors)
        self.retry_after_seconds = retry_after_seconds
        self.job_id = job_id
        self.allow = tuple(allow)


class RefusedError(ApiError):
    """The request is refused; nothing was kept."""

    code = "validation"
    status = 422
    title = "The request is refused"


class MalformedJsonError(RefusedError):
    """The body is not JSON."""

    code, status, title = "malformed-json", 400, "The body is not JSON"


class UnauthorizedError(RefusedError):
    """A valid token is needed."""

    code, status, title = "unauthorized", 401, "A valid token is needed"


class ForbiddenError(RefusedError):
    """The token lacks the scope for this."""

    code, status, title = "forbidden", 403, "The token lacks the scope for this"


class NotFoundError(RefusedError):
    """There is no such thing, or not for this token."""

    code, status, title = "not-found", 404, "Not found"


class MethodNotAllowedError(RefusedError):
    """The path exists, the method does not."""

    code, status, title = "method-not-allowed", 405, "This method is not allowed here"


class DuplicateJobError(RefusedError):
    """Another job that is not over holds the unique key; `job_id` names it."""

    code, status, title = "duplicate-job", 409, "Another job holds this unique key"


class AlreadyTerminalError(RefusedError):
    """The job is completed or failed."""

    code, status, title = "already-terminal", 409, "The job is already over"


class NotTerminalError(RefusedError):
    """The job is not over yet."""

    code, status, title = "not-terminal", 409, "The job is not over yet"


class IdempotencyInFlightError(RefusedError):
    """The first request with this key has not been answered yet."""

    code, status, title = "idempotency-in-flight", 409, "The first request with this key is still under way"


class TooLargeError(RefusedError):
    """A part of the request is larger than its limit."""

    code, status, title = "too-large", 413, "The request is too large"


class UnsupportedMediaTypeError(RefusedError):
    """The body must be application/json, uncompressed."""

    code, status, title = "unsupported-media-type", 415, "The body must be application/json"


class ValidationFailedError(RefusedError):
    """The request breaks a rule; `errors` names field and rule."""

    code, status, title = "validation", 422, "The request breaks a rule"


class InvalidPayloadError(ValidationFailedError):
    """The payload does not fit the schema of its job type."""

    code, title = "invalid-payload", "The payload does not fit its job type"


class UnknownJobTypeError(ValidationFailedError):
    """No worker has registered this job type."""

    code, title = "unknown-job-type", "No worker has registered this job type"


class IdempotencyMismatchError(RefusedError):
    """The key was used before with another body."""

    code, status, title = "idempotency-mismatch", 422, "The key was used before with another body"


class QueueFullError(RefusedError):
    """The pool holds as many jobs as it may."""

    code, status, title = "queue-full", 429, "The queue is full"


class RateLimitedError(RefusedError):
    """Too many requests with this token."""

    code, status, title = "rate-limited", 429, "Too many requests"


class StoreUnavailableError(ApiError):
    """A store did not answer; nothing was kept."""

    code, status, title = "store-unavailable", 503, "A store does not answer; nothing was kept"


class OutcomeUnknownError(StoreUnavailableError):
    """The write was sent but not confirmed; `job_id` names the job it may have made."""

    code, title = "outcome-unknown", "The write was sent but not confirmed"


API_ERRORS: tuple[type[ApiError], ...] = (
    MalformedJsonError,
    UnauthorizedError,
    ForbiddenError,
    NotFoundError,
    MethodNotAllowedError,
    DuplicateJobError,
    AlreadyTerminalError,
    NotTerminalError,
    IdempotencyInFlightError,
    TooLargeError,
    UnsupportedMediaTypeError,
    ValidationFailedError,
    InvalidPayloadError,
    UnknownJobTypeError,
    IdempotencyMismatchError,
    QueueFullError,
    RateLimitedError,
    StoreUnavailableError,
    OutcomeUnknownError,
    ApiError,
)
"""Every problem the API can answer, each code once."""
