"""What may be said about a job when it is submitted, as types that a checker and an editor understand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Required, TypedDict

from headrace.contracts.values import to_rfc3339

PriorityName = Literal["high", "medium", "low"]


class SubmitOptions(TypedDict, total=False):
    """Everything beside type and payload. What is absent or None is left to the server and the job type."""

    priority: PriorityName | None
    """Default medium."""
    delay_seconds: float | None
    """Run no sooner than so many seconds from now. Excludes `run_at`."""
    run_at: datetime | None
    """Run no sooner than then. With a time zone."""
    timeout_seconds: int | None
    """How long one attempt may take, 1 to 604800."""
    max_retries: int | None
    """How often it may fail and run again, 0 to 100."""
    expires_in_seconds: float | None
    """Fail it unless it has started so long after it became due."""
    unique_key: str | None
    """At most one job of the type that is not over has this key."""
    tags: Mapping[str, str] | None
    """At most 20, to find jobs by."""


class Submission(SubmitOptions, total=False):
    """One job of `submit_many`."""

    type: Required[str]
    payload: Required[Any]
    idempotency_key: str | None


def body_of(type: str, payload: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """A submission as the API wants it.

    Raises:
        ValueError: `run_at` has no time zone.
    """
    given = {name: value for name, value in options.items() if value is not None}
    moment = given.get("run_at")
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError("run_at must have a time zone, such as datetime.now(UTC) + timedelta(minutes=5)")
        given["run_at"] = to_rfc3339(moment)
    return {"type": type, "payload": payload, **given}
