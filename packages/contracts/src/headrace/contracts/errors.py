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

from headrace.contracts.api_errors import (
    API_ERRORS,
    AlreadyTerminalError,
    ApiError,
    DuplicateJobError,
    FieldError,
    ForbiddenError,
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    InvalidPayloadError,
    MalformedJsonError,
    MethodNotAllowedError,
    NotFoundError,
    NotTerminalError,
    OutcomeUnknownError,
    QueueFullError,
    RateLimitedError,
    RefusedError,
    StoreUnavailableError,
    TooLargeError,
    UnauthorizedError,
    UnknownJobTypeError,
    UnsupportedMediaTypeError,
    ValidationFailedError,
)
from headrace.contracts.error_base import (
    ConfigError,
    HeadraceError,
)
from headrace.contracts.failures import (
    DependencyDown,
    JobCancelled,
    JobFailure,
    LeaseLost,
    PermanentError,
    Retry,
)

__all__ = [
    "API_ERRORS",
    "AlreadyTerminalError",
    "ApiError",
    "ConfigError",
    "DependencyDown",
    "DuplicateJobError",
    "FieldError",
    "ForbiddenError",
    "HeadraceError",
    "IdempotencyInFlightError",
    "IdempotencyMismatchError",
    "InvalidPayloadError",
    "JobCancelled",
    "JobFailure",
    "LeaseLost",
    "MalformedJsonError",
    "MethodNotAllowedError",
    "NotFoundError",
    "NotTerminalError",
    "OutcomeUnknownError",
    "PermanentError",
    "QueueFullError",
    "RateLimitedError",
    "RefusedError",
    "Retry",
    "StoreUnavailableError",
    "TooLargeError",
    "UnauthorizedError",
    "UnknownJobTypeError",
    "UnsupportedMediaTypeError",
    "ValidationFailedError",
]
