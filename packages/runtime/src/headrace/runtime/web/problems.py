"""Errors as RFC 9457 problem documents: what broke which rule, and never what was sent."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web
from pydantic import ValidationError

from headrace.contracts.errors import (
    ApiError,
    FieldError,
    MethodNotAllowedError,
    NotFoundError,
    TooLargeError,
    UnauthorizedError,
    UnsupportedMediaTypeError,
    ValidationFailedError,
)

MEDIA_TYPE = "application/problem+json"
MAX_FIELD_ERRORS = 50
MAX_POINTER_CHARACTERS = 200

_HTTP_ERRORS: dict[int, type[ApiError]] = {
    404: NotFoundError,
    405: MethodNotAllowedError,
    413: TooLargeError,
    415: UnsupportedMediaTypeError,
}

_TELLING_CODES = frozenset({"union_tag_invalid", "assertion_error"})
"""Rules of pydantic whose messages would repeat what was sent."""


def problem_body(error: ApiError) -> dict[str, Any]:
    """The problem document of an error, as JSON values."""
    body: dict[str, Any] = {
        "type": f"/problems/{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    if error.errors:
        body["errors"] = [
            {"in": field.location, "pointer": field.pointer, "code": field.code, "detail": field.detail}
            for field in error.errors
        ]
    if error.job_id is not None:
        body["id"] = error.job_id
    return body


def problem_response(error: ApiError) -> web.Response:
    """The answer for an error."""
    response = web.Response(body=json.dumps(problem_body(error)).encode(), status=error.status, content_type=MEDIA_TYPE)
    if error.retry_after_seconds is not None or error.status in {429, 503}:
        response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(error.retry_after_seconds or 1)))
    if isinstance(error, UnauthorizedError):
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if error.allow:
        response.headers[hdrs.ALLOW] = ", ".join(error.allow)
    return response


def known_http_error(error: web.HTTPException) -> ApiError | None:
    """What aiohttp refuses by itself as an error of ours; None where we have no name for it. `Allow` is kept."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MethodNotAllowedError(allow=sorted(error.allowed_methods))
    known = _HTTP_ERRORS.get(error.status)
    return None if known is None else known()


def of_http_exception(error: web.HTTPException) -> web.Response:
    """What aiohttp refuses by itself, in our form."""
    known = known_http_error(error)
    if known is not None:
        return problem_response(known)
    status = HTTPStatus(error.status)
    body = {"type": "about:blank", "title": status.phrase, "status": error.status, "detail": status.description}
    return web.Response(body=json.dumps(body).encode(), status=error.status, content_type=MEDIA_TYPE)


def of_validation(error: ValidationError, *, location: str) -> ValidationFailedError:
    """The refusal for what pydantic found.

    Args:
        error: Its findings; at most 50 are told.
        location: `body`, `query`, `header` or `path`.
    """
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return refused(
        [
            FieldError(pointer=pointer(item["loc"]), code=item["type"], detail=_detail(item), location=location)
            for item in found[:MAX_FIELD_ERRORS]
        ]
    )


def refused(errors: Sequence[FieldError]) -> ValidationFailedError:
    """The refusal for these fields; the detail names the first."""
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    where = f"{first.location} {first.pointer}".strip()
    return ValidationFailedError(f"{where}: {first.detail}{more}", errors=errors)


def pointer(parts: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901), cut where a client made it long."""
    text = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return text if len(text) <= MAX_POINTER_CHARACTERS else text[:MAX_POINTER_CHARACTERS] + "…"


def _detail(item: Any) -> str:
    if item["type"] in _TELLING_CODES:
        return "the value is not one of those allowed"
    return str(item["msg"]).removeprefix("Value error, ")
