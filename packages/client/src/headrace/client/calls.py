"""What the parts of the client share: the connection, paths, and how answers are read."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel

from headrace.client.transport import Transport
from headrace.contracts.api import JobView
from headrace.contracts.errors import ApiError, NotFoundError
from headrace.contracts.problems import error_of_problem
from headrace.contracts.values import to_rfc3339

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
Model = TypeVar("Model", bound=BaseModel)
Item = TypeVar("Item")


class Calls:
    """The base of what the client can do."""

    def __init__(self, transport: Transport, *, patience_seconds: float) -> None:
        self._transport = transport
        self._patience_seconds = patience_seconds

    async def _get(self, kind: type[Model], path: str, query: Mapping[str, Any] | None = None) -> Model:
        return read(kind, await self._transport.request("GET", path, query=query_of(query or {})))

    async def _post(self, kind: type[Model], path: str, body: Any = None, *, key: str | None = None) -> Model:
        headers = {"Idempotency-Key": key} if key is not None else {}
        return read(kind, await self._transport.request("POST", path, body=body, headers=headers))


def read(kind: type[Model], found: Any) -> Model:
    """An answer as its model; a newer server may tell more than this client knows."""
    return kind.model_validate(found, extra="ignore")


def path_of(collection: str, name: str, *more: str) -> str:
    """The path of one thing, such as `/v1/jobs/{id}/why`.

    Raises:
        NotFoundError: The name is none, and might name another path of the server.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise NotFoundError(f"there is no such name in {collection}: names are letters, digits, '.', '_' and '-'")
    return "/".join((f"/v1/{collection}", name, *more))


def query_of(given: Mapping[str, Any]) -> dict[str, str]:
    """What is not None, as text."""
    return {
        name: to_rfc3339(value) if isinstance(value, datetime) else str(value)
        for name, value in given.items()
        if value is not None
    }


async def all_pages(
    fetch: Callable[[str | None], Awaitable[tuple[list[Item], str | None]]],
) -> AsyncGenerator[Item, None]:
    """Every item of a list that is fetched page by page; `fetch` takes a cursor and gives the next one."""
    cursor: str | None = None
    while True:
        items, cursor = await fetch(cursor)
        for item in items:
            yield item
        if cursor is None:
            return


def outcome_of(item: Mapping[str, Any]) -> JobView | ApiError:
    """What became of one job of a batch."""
    if item.get("job") is not None:
        return read(JobView, item["job"])
    return error_of_problem(int(item["status"]), item["problem"])
