"""Value types that requests and settings share: integers as JSON means them, times, names."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PlainSerializer, WithJsonSchema


def _whole_float_to_int(value: Any) -> Any:
    # JSON has one kind of number: 9.0 is an integer to JSON Schema, so a strict int must take it too.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


JsonInt = Annotated[int, BeforeValidator(_whole_float_to_int)]
"""An integer as JSON Schema counts it: 9 and 9.0, never true."""


def to_rfc3339(moment: datetime) -> str:
    """A time as the API writes it: UTC, milliseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def _from_rfc3339(value: Any) -> Any:
    # Pydantic would take the text "0" for 1970: a delayed job would run at once.
    if not isinstance(value, str):
        return value
    if not _RFC3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 time with its offset, such as 2030-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError:
        raise ValueError("must be a time that exists") from None


def _to_milliseconds(moment: datetime) -> datetime:
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from None
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


Timestamp = Annotated[
    AwareDatetime,
    BeforeValidator(_from_rfc3339),
    AfterValidator(_to_milliseconds),
    PlainSerializer(to_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An aware time, kept in UTC with milliseconds, which is what MongoDB stores."""

TypeName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""The name of a job type."""

PoolName = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
"""The name of a pool. Safe inside a Redis hash tag, a file name and a metric label."""
