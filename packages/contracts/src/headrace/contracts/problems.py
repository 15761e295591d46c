"""Problem documents read back into the errors that they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.contracts.errors import API_ERRORS, ApiError, FieldError

_BY_CODE = {error.code: error for error in API_ERRORS}


def error_of_problem(
    status: int, problem: Mapping[str, Any], *, retry_after_seconds: float | None = None, allow: Sequence[str] = ()
) -> ApiError:
    """The exception that a problem document stands for; a code that is not known here stands in its words."""
    code = str(problem.get("type", "")).rsplit("/", 1)[-1]
    detail = str(problem.get("detail") or problem.get("title") or "")
    kind = _BY_CODE.get(code)
    if kind is None:
        unknown = unknown_problem(code, status, title=str(problem.get("title") or ""))
        return unknown(f"{status} {code}: {detail}", retry_after_seconds=retry_after_seconds)
    job_id = problem.get("id")
    return kind(
        detail,
        errors=_field_errors(problem.get("errors")),
        retry_after_seconds=retry_after_seconds,
        job_id=job_id if isinstance(job_id, str) else None,
        allow=allow,
    )


def unknown_problem(code: str, status: int, *, title: str = "") -> type[ApiError]:
    """An error class of its own, because code, status and title belong to the class of an error."""
    return type("UnknownProblemError", (ApiError,), {"code": code, "status": status, "title": title or ApiError.title})


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
