"""The body of a submission: its fields checked, its payload kept as text, digit for digit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError

from headrace.contracts.errors import FieldError, TooLargeError
from headrace.contracts.job import JsonText
from headrace.contracts.submission import IdempotencyKey, JobSubmission
from headrace.runtime.web.body import JOB_LIMIT_BYTES, MAX_DEPTH, is_too_deep, too_deep
from headrace.runtime.web.problems import of_validation, refused

_NULL = msgspec.Raw(b"null")
REMEMBERED_BYTES = 512
_KEY: TypeAdapter[str | None] = TypeAdapter(IdempotencyKey | None)


@dataclass(frozen=True)
class JobBody:
    """A submission. `fields.payload` is a placeholder: `payload` is the compact JSON text as the client wrote it."""

    fields: JobSubmission
    payload: JsonText
    raw: bytes

    def digest(self) -> str:
        """What the body says, as SHA-256: equal for bodies that differ in white space and the order of fields alone.

        A number counts by its digits, so 1.0 and 1.00 differ, as they do in the stored payload.
        """
        value = json.loads(self.raw, parse_int=_Digits, parse_float=_Digits)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_tag)
        return hashlib.sha256(text.encode()).hexdigest()


def read_job_body(raw: bytes, *, payload_limit_bytes: int) -> JobBody:
    """Read a body that is known to be JSON.

    Args:
        raw: From `read_raw_body`.
        payload_limit_bytes: How long the payload may be as compact JSON in UTF-8.

    Raises:
        ValidationFailedError: A field is unknown, missing or breaks its rule, or the payload is nested too deep.
        TooLargeError: The payload is too long.
    """
    # One level more than the payload may have, for the body around it; this also keeps every later parser shallow.
    if is_too_deep(raw, MAX_DEPTH + 1):
        raise too_deep("/payload")
    try:
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise refused([FieldError("", "model_type", "the body must be a JSON object")]) from None
    return _of_members(members, raw, payload_limit_bytes)


def read_batch_item(raw: bytes, *, payload_limit_bytes: int) -> tuple[JobBody, str | None]:
    """Read one job of a batch: the fields of a single submission, and its idempotency key.

    The digest is the one that the same job has when it is submitted alone.

    Raises:
        ValidationFailedError, TooLargeError: As `read_job_body`; pointers begin at the item.
    """
    if len(raw) > JOB_LIMIT_BYTES:
        raise TooLargeError(f"a job may have {JOB_LIMIT_BYTES} bytes")
    if is_too_deep(raw, MAX_DEPTH + 1):
        raise too_deep("/payload")
    try:
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise refused([FieldError("", "model_type", "a job must be a JSON object")]) from None
    given = members.pop("idempotency_key", None)
    if given is None:
        return _of_members(members, raw, payload_limit_bytes), None
    key = _read_key(given)
    body = msgspec.json.encode(members) if key is not None else raw
    return _of_members(members, body, payload_limit_bytes), key


def _read_key(given: msgspec.Raw) -> str | None:
    try:
        return _KEY.validate_json(bytes(given))
    except ValidationError as error:
        found = of_validation(error, location="body").errors
        raise refused([FieldError("/idempotency_key", item.code, item.detail) for item in found]) from None


def _of_members(members: dict[str, msgspec.Raw], raw: bytes, payload_limit_bytes: int) -> JobBody:
    payload = members.get("payload")
    fields = _read_fields(members)
    assert payload is not None, "a required field"
    compact = msgspec.json.format(bytes(payload), indent=-1)
    if len(compact) > payload_limit_bytes:
        raise TooLargeError(f"the payload may have {payload_limit_bytes} bytes as compact JSON")
    return JobBody(fields=fields, payload=compact.decode(), raw=raw)


def _read_fields(members: dict[str, msgspec.Raw]) -> JobSubmission:
    shown = msgspec.json.encode({name: _NULL if name == "payload" else value for name, value in members.items()})
    try:
        # Jobs that come in numbers differ in their payloads, and seldom in anything else.
        return _remembered(shown) if len(shown) <= REMEMBERED_BYTES else JobSubmission.model_validate_json(shown)
    except ValidationError as error:
        if error.errors(include_input=False, include_url=False)[0]["type"] == "json_invalid":
            # The syntax is known to be right: what is left are numbers of thousands of digits.
            raise refused([FieldError("", "number_too_long", "a number outside of the payload is too long")]) from None
        raise of_validation(error, location="body") from None


@lru_cache(maxsize=512)
def _remembered(shown: bytes) -> JobSubmission:
    return JobSubmission.model_validate_json(shown)


class _Digits:
    """A number as it was written."""

    def __init__(self, text: str) -> None:
        self.text = text


def _tag(number: Any) -> dict[str, str]:
    # No real body has a field of this name, so a number never digests like a text.
    return {"\0number": number.text}
