"""Turn the server's problem documents into the exceptions of `headrace.contracts.errors`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from headrace.contracts.errors import API_ERRORS, ApiError, FieldError

_BY_CODE = {error.code: error for error in API_ERRORS}


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The exception that an answer of 400 and above stands for.

    A code this client does not know gives an `ApiError` that carries it; an answer that is no problem document (a
    proxy's page) one with the code `http-STATUS`. Both carry the status.
    """
    retry_after_seconds = retry_after(headers.get("Retry-After"))
    problem = _parse(body)
    if problem is None:
        detail = f"the server answered {status} without a problem document"
        return _unknown(f"http-{status}", status)(detail, retry_after_seconds=retry_after_seconds)
    return error_of_problem(
        status,
        problem,
        retry_after_seconds=retry_after_seconds,
        allow=[name.strip() for name in headers.get("Allow", "").split(",") if name.strip()],
    )


def error_of_problem(
    status: int, problem: Mapping[str, Any], *, retry_after_seconds: float | None = None, allow: Sequence[str] = ()
) -> ApiError:
    """The exception that a problem document stands for."""
    code = str(problem.get("type", "")).rsplit("/", 1)[-1]
    detail = str(problem.get("detail") or problem.get("title") or "")
    kind = _BY_CODE.get(code)
    if kind is None:
        return _unknown(code, status)(f"{status} {code}: {detail}", retry_after_seconds=retry_after_seconds)
    job_id = problem.get("id")
    return kind(
        detail,
        errors=_field_errors(problem.get("errors")),
        retry_after_seconds=retry_after_seconds,
        job_id=job_id if isinstance(job_id, str) else None,
        allow=allow,
    )


def retry_after(value: str | None) -> float | None:
    """A `Retry-After` header in seconds from now, from either of its forms; None when absent or unreadable."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None  # noqa: PLR0124 -- NaN is a float too


def _unknown(code: str, status: int) -> type[ApiError]:
    # A class of its own, because code and status belong to the class of an error.
    return type("UnknownProblemError", (ApiError,), {"code": code, "status": status})


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        problem = json.loads(body)
    except ValueError:
        return None
    return problem if isinstance(problem, dict) and "type" in problem else None


def _field_errors(found: Any) -> list[FieldError]:
    if not isinstance(found, list):
        return []
    return [
        FieldError(
            pointer=str(entry.get("pointer", "")),
            code=str(entry.get("code", "")),
            detail=str(entry.get("detail", "")),
            location=str(entry.get("in", "body")),
        )
        for entry in found
        if isinstance(entry, dict)
    ]
