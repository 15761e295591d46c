"""Breakers of what jobs depend on: which are open, and closing one by hand."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from headrace.contracts.api import BreakerList, BreakerReset, BreakerView
from headrace.contracts.errors import ForbiddenError, NotFoundError
from headrace.runtime.store.breakers import HOST_PREFIX, DependencyBreakers
from headrace.runtime.web.auth import TOKEN
from headrace.runtime.web.query import check_names
from headrace.runtime.web.responses import json_response
from headrace.scheduler.operators import OPERATORS
from headrace.scheduler.services import SERVICES


async def list_breakers(request: web.Request) -> web.Response:
    """Every open breaker.

    What was met last, and which hosts are crawled, may be another tenant's: a token with a tenant is not told.
    """
    check_names(request, ())
    stores = request.app[SERVICES].stores
    found = await stores.mongo.read(lambda: DependencyBreakers(stores.database).all())
    hidden: dict[str, str] = {}
    if request[TOKEN].tenant is not None:
        hidden = {"error": ""}
        found = [breaker for breaker in found if not breaker.name.startswith(HOST_PREFIX)]
    views = [BreakerView(**asdict(breaker) | {"types": list(breaker.types)} | hidden) for breaker in found]
    return json_response(BreakerList(breakers=views))


async def reset_breaker(request: web.Request) -> web.Response:
    """Close a breaker; workers follow within two seconds, and parked jobs run when they are due."""
    token, services = request[TOKEN], request.app[SERVICES]
    if token.tenant is not None:
        raise ForbiddenError("a dependency is everybody's: a token with a tenant cannot reset its breaker")
    name, stores = request.match_info["name"], services.stores

    async def close() -> bool:
        was_open = await stores.mongo.write(lambda: DependencyBreakers(stores.database).close(name))
        if was_open:
            await request.app[OPERATORS].audit.note(token, "reset", target=name)
        return was_open

    if not await services.tasks.shielded(close()):
        raise NotFoundError("no breaker with this name is open")
    return json_response(BreakerReset(name=name))
