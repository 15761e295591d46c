"""Writing answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

BASE_PATH: Final = web.AppKey("BASE_PATH", str)
"""`JOB_HTTP_BASE_PATH`: what every path begins with."""


def json_response(
    value: BaseModel | Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A model (by its aliases) or a mapping of JSON values as JSON.

    Raises:
        ValueError: The mapping holds NaN or Infinity, which JSON cannot say.
    """
    if isinstance(value, BaseModel):
        return json_text_response(value.model_dump_json(by_alias=True), status, headers)
    return json_text_response(json.dumps(value, allow_nan=False, separators=(",", ":")), status, headers)


def json_text_response(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """JSON text that is written out as it is, digit for digit."""
    return web.Response(body=text.encode(), status=status, headers=headers, content_type="application/json")


def path_of(request: web.Request, path: str) -> str:
    """The path as clients see it, for `Location` and links: with the base path in front."""
    return request.app[BASE_PATH] + path
