"""Does a payload fit the JSON Schema that its job type's workers registered?"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import jsonschema_rs

from headrace.contracts.errors import FieldError, InvalidPayloadError
from headrace.runtime.web.problems import MAX_FIELD_ERRORS, pointer

MASK = "the value"
"""Stands in messages for what was sent."""
_MAX_DIGITS = 4000
"""Python refuses to read integers of more than 4300 digits."""
_BEYOND: int = 10**_MAX_DIGITS
_NAMING = {
    "additionalProperties": "this field is not known",
    "unevaluatedProperties": "this field is not known",
    "falseSchema": "nothing may stand here",
    "propertyNames": "the name of a field breaks its rule",
}
"""Rules whose messages would repeat names that were sent."""


class PayloadChecker:
    """One schema, compiled once. Draft 2020-12; `format` is a note, not a rule; nothing is ever fetched.

    Args:
        schema: The JSON Schema.

    Raises:
        ValueError: The schema is no JSON Schema.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._validator = jsonschema_rs.Draft202012Validator(schema, mask=MASK, offline=True)
        self._takes_all = not schema

    def check(self, payload: str) -> None:
        """Check a payload, which is JSON text.

        Numbers are judged as doubles where they are not integers, and integers of thousands of digits by their sign
        and a size beyond every limit; the stored text keeps all digits either way.

        Raises:
            InvalidPayloadError: It breaks the schema; at most 50 findings are told, never the value.
        """
        if self._takes_all:
            return
        value = _DECODER.decode(payload)
        if self._validator.is_valid(value):
            return
        errors: list[FieldError] = []
        for finding in self._validator.iter_errors(value):
            errors += _field_errors(finding)
            if len(errors) >= MAX_FIELD_ERRORS:
                break
        if errors:
            first = errors[0]
            raise InvalidPayloadError(f"{first.pointer}: {first.detail}", errors=errors[:MAX_FIELD_ERRORS])


def _field_errors(finding: jsonschema_rs.ValidationError) -> list[FieldError]:
    code = finding.kind.name
    path = ["payload", *finding.instance_path]
    detail = _NAMING.get(code, finding.message)
    if code in {"additionalProperties", "unevaluatedProperties"}:
        return [FieldError(pointer([*path, name]), code, detail) for name in _unexpected(finding.kind)]
    if code == "required":
        return [FieldError(pointer([*path, str(_missing(finding.kind))]), code, "this field is missing")]
    return [FieldError(pointer(path), code, detail)]


def _unexpected(kind: Any) -> list[str]:
    return [str(name) for name in kind.unexpected]


def _missing(kind: Any) -> object:
    return kind.property


def _finite(text: str) -> float:
    # 1e400 is a number in JSON; as an infinity it would fail even {"type": "number"}.
    value = float(text)
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value


def _readable(text: str) -> int:
    if len(text) <= _MAX_DIGITS:
        return int(text)
    return -_BEYOND if text.startswith("-") else _BEYOND


_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_readable)
"""Made once: `json.loads` with these arguments would make one for each payload."""
