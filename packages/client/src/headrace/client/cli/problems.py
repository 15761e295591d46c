"""What went wrong, what to try, and the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from headrace.client.cli.words import clean, span
from headrace.client.environment import Access
from headrace.client.transport import NotReachableError
from headrace.contracts.errors import (
    ApiError,
    DuplicateJobError,
    ForbiddenError,
    HeadraceError,
    NotFoundError,
    NotTerminalError,
    OutcomeUnknownError,
    QueueFullError,
    UnauthorizedError,
    UnknownJobTypeError,
)


class ExitCode(IntEnum):
    """How a command ends."""

    DONE = 0
    JOB_FAILED = 1
    """The job that was followed failed or was cancelled."""
    USAGE = 2
    REFUSED = 3
    NOT_REACHABLE = 4
    INTERRUPTED = 130


class UsageError(HeadraceError):
    """What was typed cannot be meant; the message says what is expected."""


def exit_code(error: HeadraceError) -> ExitCode:
    """The exit code for an error."""
    if isinstance(error, NotReachableError):
        return ExitCode.NOT_REACHABLE
    return ExitCode.REFUSED if isinstance(error, ApiError) else ExitCode.USAGE


def explain(error: HeadraceError, access: Access) -> list[str]:
    """The lines that tell a person about it: what is wrong, each field that is, and what to try."""
    lines = [f"error: {clean(str(error))}"]
    if isinstance(error, ApiError):
        fields = [f"{_place(field.pointer, field.location)}: {clean(field.detail)}" for field in error.errors]
        # With fields, the detail is the first of them once more.
        words = error.title[:1].lower() + error.title[1:] if fields else clean(str(error))
        lines = [f"error: {words} ({clean(error.code)})", *(f"  {field}" for field in fields)]
    return lines + [f"  try: {hint}" for hint in _hints(error, access)]


def as_document(error: HeadraceError) -> dict[str, object]:
    """The same for machines."""
    document: dict[str, object] = {"code": "usage", "status": None, "detail": str(error)}
    if isinstance(error, NotReachableError):
        document["code"] = error.code
    if isinstance(error, ApiError):
        fields = [{"pointer": field.pointer, "code": field.code, "detail": field.detail} for field in error.errors]
        document |= {"code": error.code, "status": error.status, "errors": fields, "id": error.job_id}
        document["retry_after_seconds"] = error.retry_after_seconds
    return {"error": document}


def _place(pointer: str, location: str) -> str:
    return clean(pointer) or f"the {location}"


def _hints(error: HeadraceError, access: Access) -> Sequence[str]:
    if isinstance(error, NotReachableError):
        return (
            "headrace-local up                      to run the whole system on this machine",
            f"export HEADRACE_URL=http://HOST:PORT   if the scheduler is elsewhere (asked was {clean(access.url)})",
        )
    if isinstance(error, UnauthorizedError):
        known = "is the right one for this server" if access.token else "is set: this server wants a token"
        return (f"check that HEADRACE_TOKEN {known}; 'headrace token new NAME' makes one",)
    if isinstance(error, ForbiddenError):
        return ("a token with that scope in HEADRACE_TOKEN; 'headrace token new NAME --scopes ...' makes one",)
    if isinstance(error, UnknownJobTypeError):
        return ("'headrace types' to see what the running workers can do",)
    if isinstance(error, DuplicateJobError) and error.job_id:
        return (f"headrace watch {clean(error.job_id)}",)
    if isinstance(error, NotTerminalError):
        return ("cancel it first, or wait for its end with 'headrace watch ID'",)
    if isinstance(error, QueueFullError):
        wait = "" if error.retry_after_seconds is None else f" in about {span(error.retry_after_seconds)}"
        return (f"again{wait}, or see 'headrace pools' for what fills it",)
    if isinstance(error, OutcomeUnknownError) and error.job_id:
        return (f"'headrace status {clean(error.job_id)}' to see whether it was kept",)
    if isinstance(error, NotFoundError):
        return ("'headrace list' to see the jobs that this token may see",)
    return ()
