"""Turn the server's problem documents into the exceptions of `headrace.contracts.errors`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from headrace.contracts.errors import ApiError
from headrace.contracts.problems import error_of_problem, unknown_problem


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The exception that an answer of 400 and above stands for.

    A code this client does not know gives an `ApiError` that carries it; an answer that is no problem document (a
    proxy's page) one with the code `http-STATUS`. Both carry the status.
    """
    retry_after_seconds = retry_after(headers.get("Retry-After"))
    problem = _parse(body)
    if problem is None:
        detail = f"the server answered {status} without a problem document"
        return unknown_problem(f"http-{status}", status)(detail, retry_after_seconds=retry_after_seconds)
    return error_of_problem(
        status,
        problem,
        retry_after_seconds=retry_after_seconds,
        allow=[name.strip() for name in headers.get("Allow", "").split(",") if name.strip()],
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


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        problem = json.loads(body)
    except ValueError:
        return None
    return problem if isinstance(problem, dict) and "type" in problem else None
