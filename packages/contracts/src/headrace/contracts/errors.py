"""What can go wrong, as one tree.

::

    HeadraceError
    ├── ConfigError                 a setting is wrong; the service does not start
    ├── RefusedError                the request is refused and nothing was kept
    │   ├── MalformedJsonError      malformed-json 400
    │   ├── UnauthorizedError       unauthorized 401
    │   ├── ForbiddenError          forbidden 403
    │   ├── NotFoundError           not-found 404
    │   ├── MethodNotAllowedError   method-not-allowed 405
    │   ├── DuplicateJobError       duplicate-job 409
    │   ├── AlreadyTerminalError    already-terminal 409
    │   ├── NotTerminalError        not-terminal 409
    │   ├── IdempotencyInFlightError idempotency-in-flight 409
    │   ├── TooLargeError           too-large 413
    │   ├── UnsupportedMediaTypeError unsupported-media-type 415
    │   ├── ValidationFailedError   validation 422
    │   │   ├── InvalidPayloadError invalid-payload 422
    │   │   └── UnknownJobTypeError unknown-job-type 422
    │   ├── IdempotencyMismatchError idempotency-mismatch 422
    │   ├── QueueFullError          queue-full 429
    │   └── RateLimitedError        rate-limited 429
    ├── StoreUnavailableError       store-unavailable 503, the write was not sent
    │   └── OutcomeUnknownError     outcome-unknown 503, the write was sent but not confirmed
    ├── LeaseLost                   this attempt no longer counts
    ├── JobCancelled                a cancel was asked for
    └── JobFailure                  what an executor may raise: Retry, PermanentError, DependencyDown

Every class of the HTTP API has a stable `code` and `status`; its docstring's first line is the problem's title.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldError:
    """One refused field: where it is, which rule it breaks, and how to mend it. Never the value itself."""

    pointer: str
    code: str
    detail: str
    location: str = "body"


class HeadraceError(Exception):
    """The root of everything Headrace raises on purpose."""


class ConfigError(HeadraceError):
    """A setting is missing, unknown or wrong. The message names it and the rule."""


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


class LeaseLost(HeadraceError):  # noqa: N818  -- the documented name
    """This attempt no longer counts: the job was taken from it. Stop, and write nothing more."""


class JobCancelled(HeadraceError):  # noqa: N818  -- the documented name
    """Somebody asked for this job to be cancelled. Clean up and stop."""


class JobFailure(HeadraceError):  # noqa: N818  -- a family, not an error of ours
    """What an executor may raise to steer what happens after its failure."""


class Retry(JobFailure):
    """Run the job again later; counts as one failure.

    Args:
        message: What went wrong, for the job's record.
        delay_seconds: When to run again; without it the retry policy decides.
    """

    def __init__(self, message: str = "retry asked for", *, delay_seconds: float | None = None) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds


class DependencyDown(JobFailure):
    """Something that the job needs does not work: park the job, and take no failure for it.

    Args:
        name: The dependency, as `JobContext.dependency` names it.
        message: What was seen of it.
    """

    def __init__(self, name: str, message: str = "") -> None:
        super().__init__(f"{name}: {message}" if message else name)
        self.name = name
        self.is_counted = False
        """Whether its breaker knows of it; set by the worker."""


class PermanentError(JobFailure):
    """Running the job again cannot help: fail it now, whatever retries are left."""


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
