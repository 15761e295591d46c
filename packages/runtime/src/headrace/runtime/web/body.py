"""Reading bodies: strict JSON within a limit, or a clear refusal."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, NoReturn, TypeVar

import msgspec
from aiohttp import hdrs, http_exceptions, web
from pydantic import BaseModel, ValidationError

from headrace.contracts.errors import (
    FieldError,
    MalformedJsonError,
    TooLargeError,
    UnsupportedMediaTypeError,
    ValidationFailedError,
)
from headrace.runtime.web.problems import of_validation, refused

JOB_LIMIT_BYTES = 1024 * 1024
BATCH_LIMIT_BYTES = 32 * 1024 * 1024
MAX_DEPTH = 64
"""How many arrays and objects of a payload may lie in each other."""
READ_SECONDS = 30.0
"""How long a client may take to send a body."""

M = TypeVar("M", bound=BaseModel)

_STRINGS_AND_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{\]}]')


async def read_raw_body(request: web.Request, limit: int = JOB_LIMIT_BYTES) -> bytes:
    """The body as it came, known to be JSON text in UTF-8: syntax checked, numbers and key order untouched.

    Raises:
        UnsupportedMediaTypeError: Not `application/json`, not UTF-8, or compressed.
        TooLargeError: Longer than `limit` bytes.
        MalformedJsonError: Empty, cut off, not UTF-8, or not JSON (NaN and Infinity are not).
        ValidationFailedError: Nested thousands of levels deep.
    """
    _check_media_type(request)
    if request.content_length is not None and request.content_length > limit:
        raise TooLargeError(f"the body may have {limit} bytes")
    raw = await _read(request, limit)
    if not raw:
        raise MalformedJsonError("the body is empty")
    check_json(raw)
    return raw


async def read_body(request: web.Request, model: type[M], limit: int = JOB_LIMIT_BYTES) -> M:
    """The body as a value of `model`, which should be strict. A field `payload` may be 64 levels deep.

    Raises:
        RefusedError: As `read_raw_body`, and with `validation` for what breaks a rule of the model.
    """
    raw = await read_raw_body(request, limit)
    if is_too_deep(raw, MAX_DEPTH + 1):
        raise too_deep("/payload" if "payload" in model.model_fields else "")
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        if error.errors(include_input=False, include_url=False)[0]["type"] == "json_invalid":
            # The syntax is known to be right: what is left are numbers of thousands of digits.
            raise _long_number() from None
        raise of_validation(error, location="body") from None


def check_json(raw: bytes) -> None:
    """Check that the bytes are one JSON text in UTF-8, without building a value.

    Raises:
        MalformedJsonError: They are not.
        ValidationFailedError: They are nested so deep that it could not be found out.
    """
    try:
        raw.decode()
        msgspec.json.decode(raw, type=msgspec.Raw)
    except UnicodeDecodeError as error:
        raise MalformedJsonError(f"the body is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise too_deep("/payload") from None
    except msgspec.DecodeError as error:
        # The parser names the rule and the byte, never the text.
        raise MalformedJsonError(str(error)) from None


def parse_json(raw: bytes | str) -> Any:
    """The value of a JSON text; integers keep all their digits.

    Raises:
        MalformedJsonError: It is not JSON.
        ValidationFailedError: It is nested too deep to be read, or a number has thousands of digits.
    """
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise MalformedJsonError from None
    except RecursionError:
        raise too_deep("") from None
    except ValueError:
        raise _long_number() from None


def is_too_deep(raw: bytes, limit: int = MAX_DEPTH) -> bool:
    """Whether more than `limit` arrays and objects of a JSON text lie in each other. Never recurses."""
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return False  # the common case costs two scans in C
    depth = 0
    for match in _STRINGS_AND_BRACKETS.finditer(raw):
        first = raw[match.start()]
        if first in b"[{":
            depth += 1
            if depth > limit:
                return True
        elif first in b"]}":
            depth -= 1
    return False


def too_deep(pointer: str) -> ValidationFailedError:
    """The refusal for a value that is nested too deep."""
    return refused([FieldError(pointer, "too_deep", f"arrays and objects may be {MAX_DEPTH} levels deep")])


def _long_number() -> ValidationFailedError:
    return refused([FieldError("", "number_too_long", "a number may have 4300 digits")])


def _refuse_constant(_name: str) -> NoReturn:
    raise MalformedJsonError("NaN and Infinity are not JSON")


def _check_media_type(request: web.Request) -> None:
    if request.content_type != "application/json":
        raise UnsupportedMediaTypeError
    if (request.charset or "utf-8").lower() not in {"utf-8", "utf8"}:
        raise UnsupportedMediaTypeError("the body must be UTF-8")
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise UnsupportedMediaTypeError("the body must not be compressed")


async def _read(request: web.Request, limit: int) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise TooLargeError(f"the body may have {limit} bytes")
    except TimeoutError:
        raise MalformedJsonError(f"the body did not arrive within {READ_SECONDS:.0f} s") from None
    except (web.RequestPayloadError, http_exceptions.HttpProcessingError, ConnectionError):  # the last: it hung up
        raise MalformedJsonError("the body was cut off or wrongly framed") from None
    return bytes(body)
