"""A route as a value: what the router, the guard and the OpenAPI document need to know about it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import hdrs, web
from pydantic import BaseModel

from headrace.contracts.errors import (
    ApiError,
    ForbiddenError,
    MalformedJsonError,
    TooLargeError,
    UnauthorizedError,
    UnsupportedMediaTypeError,
    ValidationFailedError,
)
from headrace.runtime.web.auth import TOKEN, Scope, authorize
from headrace.runtime.web.query import check_names

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JSON = "application/json"
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Route:
    """One method of one path.

    Attributes:
        method: In capitals.
        path: As aiohttp writes it, `/v1/jobs/{id}`, without the base path.
        handler: Answers; errors of the tree in `headrace.contracts.errors` become problem documents.
        scope: What the token must have; None leaves the route open to everybody.
        or_scope: What will do instead of it, as far as the handler says.
        summary: One line for the documentation.
        query: The model of the query. Without one a query is refused, except on open routes.
        headers: The model of the headers it reads, by their aliases.
        body: The model of the JSON body.
        responses: The model of each answer that is no problem, by status; None where it is no JSON.
        problems: What it refuses besides what every route of its kind refuses.
        tags: Groups in the documentation.
        media_type: Of the answer.
        description: More for the documentation.
        body_required: False where a request without a body is as good as one with `{}`.
    """

    method: str
    path: str
    handler: Handler
    scope: Scope | None = Scope.ADMIN
    or_scope: Scope | None = None
    summary: str = ""
    query: type[BaseModel] | None = None
    headers: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    responses: Mapping[int, type[BaseModel] | None] = field(default_factory=dict)
    problems: Sequence[type[ApiError]] = ()
    tags: Sequence[str] = ()
    media_type: str = JSON
    description: str = ""
    body_required: bool = True

    @property
    def scopes(self) -> list[Scope]:
        """Each of these opens the route."""
        return [scope for scope in (self.scope, self.or_scope) if scope is not None]

    @property
    def all_problems(self) -> list[type[ApiError]]:
        """Everything it may refuse, each once, in the order of the status."""
        found: list[type[ApiError]] = [*self.problems, ApiError]
        if self.scope is not None:
            found += [UnauthorizedError, ForbiddenError, ValidationFailedError]
        if self.body is not None:
            found += [MalformedJsonError, TooLargeError, UnsupportedMediaTypeError, ValidationFailedError]
        return sorted(dict.fromkeys(found), key=lambda problem: (problem.status, problem.code))


def register(app: web.Application, route: Route, base_path: str, *, beside: Iterable[Route] = ()) -> None:
    """Add the route to the router, behind its guard. A GET answers HEAD too, unless it streams.

    A parameter at the end of the path does not stand for the names that `beside` it have routes of their own, so that
    `Allow` tells the methods of one resource and not of two.
    """
    handler = guarded(route)
    paths = [base_path + _router_path(route.path, beside)]
    if route.path == "/" and base_path:
        paths.append(base_path)
    for path in paths:
        if route.method == hdrs.METH_GET and route.media_type != EVENT_STREAM:
            app.router.add_route(hdrs.METH_HEAD, path, handler)
        app.router.add_route(route.method, path, handler)


def _router_path(path: str, beside: Iterable[Route]) -> str:
    parent, _, last = path.rpartition("/")
    if not re.fullmatch(r"\{\w+\}", last):
        return path
    siblings = (other.path.rpartition("/") for other in beside)
    names = sorted({name for above, _, name in siblings if above == parent and "{" not in name})
    if not names:
        return path
    taken = "|".join(re.escape(name) for name in names)
    return f"{parent}/{{{last[1:-1]}:(?!(?:{taken})$)[^{{}}/]+}}"


def guarded(route: Route) -> Handler:
    """The handler behind what every route checks first: the token, its scope, and the names in the query."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if route.scope is not None:
            request[TOKEN] = authorize(request, *route.scopes)
            if route.query is None and request.query_string:
                check_names(request, ())
        return await route.handler(request)

    return handle
