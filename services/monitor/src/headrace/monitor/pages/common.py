"""What several pages do: build a route, follow a cursor, read what the address asks for."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import BaseModel

from headrace.contracts.errors import ApiError, NotFoundError
from headrace.runtime.web.auth import Scope
from headrace.runtime.web.routes import Handler, Route

PAGE_JOBS = 50


def page_route(
    path: str,
    handler: Handler,
    summary: str,
    *,
    query: type[BaseModel] | None = None,
    scope: Scope | None = Scope.READ,
    problems: tuple[type[ApiError], ...] = (),
) -> Route:
    """A page to look at."""
    return Route(
        "GET",
        path,
        handler,
        scope=scope,
        summary=summary,
        query=query,
        responses={200: None},
        problems=problems,
        tags=["pages"],
        media_type="text/html",
    )


def form_route(path: str, handler: Handler, summary: str, *, scope: Scope | None = Scope.READ) -> Route:
    """A form of a page. Scopes are judged where it is done: by the scheduler, under the visitor's token."""
    return Route("POST", path, handler, scope=scope, summary=summary, responses={303: None}, tags=["forms"])


def asked(query: BaseModel) -> dict[str, Any]:
    """What the address asks for, as it can stand in another address."""
    return {name: value for name, value in query.model_dump(mode="json").items() if value not in {None, ""}}


def next_page(request: web.Request, cursor: str | None) -> dict[str, Any] | None:
    """The query of the next page, or None at the end."""
    return None if cursor is None else {**request.query, "cursor": cursor}


def action_in(request: web.Request, known: tuple[str, ...]) -> str:
    """The action that the address names.

    Raises:
        NotFoundError: It is none of those that are known.
    """
    action = request.match_info["action"]
    if action not in known:
        raise NotFoundError("there is nothing of that name to do")
    return action
