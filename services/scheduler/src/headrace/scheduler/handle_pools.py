"""Pools: how they stand, pauses, sizes; and the audit log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

from headrace.contracts.api import AuditEntryView, AuditList, PoolList
from headrace.contracts.errors import FieldError, ForbiddenError, NotFoundError, StoreUnavailableError
from headrace.contracts.operations import PoolPatch, PoolPause
from headrace.runtime.store.audit import AuditEntry
from headrace.runtime.store.pools import UNSET, PoolSettings
from headrace.runtime.web.auth import TOKEN, Token
from headrace.runtime.web.body import read_body
from headrace.runtime.web.problems import refused
from headrace.runtime.web.query import read_query
from headrace.runtime.web.responses import json_response
from headrace.scheduler.operators import OPERATORS, Operators
from headrace.scheduler.queries import POOL_PATTERN, AuditQuery, to_cursor
from headrace.scheduler.services import SERVICES


async def list_pools(request: web.Request) -> web.Response:
    """Every pool."""
    return json_response(PoolList(pools=await request.app[OPERATORS].pool_views.all(tenant=request[TOKEN].tenant)))


async def get_pool(request: web.Request) -> web.Response:
    """One pool."""
    name = _name_of(request)
    return json_response(await request.app[OPERATORS].pool_views.view(name, tenant=request[TOKEN].tenant))


async def pause_pool(request: web.Request) -> web.Response:
    """Stop claims of a pool."""
    token, pools = _operator(request), request.app[OPERATORS].pools
    body = await read_body(request, PoolPause) if request.can_read_body else PoolPause()
    return await _change(
        request, "pause", {"reason": body.reason}, lambda name: pools.pause(name, body.reason, token.name)
    )


async def resume_pool(request: web.Request) -> web.Response:
    """Let claims go on."""
    token, pools = _operator(request), request.app[OPERATORS].pools
    return await _change(request, "resume", None, lambda name: pools.resume(name, token.name))


async def patch_pool(request: web.Request) -> web.Response:
    """Change the sizes of a pool."""
    token, operators, mongo = _operator(request), request.app[OPERATORS], request.app[SERVICES].stores.mongo
    body = await read_body(request, PoolPatch)
    asked = body.model_dump(include=body.model_fields_set)
    name = _name_of(request)
    before = await mongo.read(lambda: operators.pools.settings(name))
    low, high = asked.get("min_slots", before.min_slots), asked.get("max_slots", before.max_slots)
    if low is not None and high is not None and low > high:
        field = "min_slots" if "min_slots" in asked else "max_slots"
        raise refused([FieldError(f"/{field}", "slots_crossed", "min_slots may not be more than max_slots")])
    changes = {field: asked.get(field, UNSET) for field in ("size_limit", "min_slots", "max_slots")}
    return await _change(request, "patch", asked, lambda pool: operators.pools.patch(pool, **changes, by=token.name))


async def list_audit(request: web.Request) -> web.Response:
    """Who did what, newest first. A token with a tenant sees what that tenant's tokens did."""
    query = read_query(request, AuditQuery)
    entries, tenant = request.app[OPERATORS].audit.entries, request[TOKEN].tenant
    found = await request.app[SERVICES].stores.mongo.read(
        lambda: entries.page(query.cursor, query.limit + 1, tenant=tenant)
    )
    shown = found[: query.limit]
    cursor = to_cursor(shown[-1].id) if len(found) > query.limit else None
    return json_response(AuditList(entries=[_entry_view(entry) for entry in shown], next_cursor=cursor))


async def _change(
    request: web.Request,
    action: str,
    asked: Mapping[str, Any] | None,
    change: Callable[[str], Awaitable[PoolSettings]],
) -> web.Response:
    operators, token, name = request.app[OPERATORS], request[TOKEN], _name_of(request)
    await operators.pool_views.check(name)

    async def apply() -> None:
        await request.app[SERVICES].stores.mongo.write(lambda: change(name))
        await operators.audit.note(token, action, target=name, filter=asked)
        await _follow(operators)

    await request.app[SERVICES].tasks.shielded(apply())
    return json_response(await operators.pool_views.view(name, tenant=token.tenant))


async def _follow(operators: Operators) -> None:
    with suppress(StoreUnavailableError):  # it is stored; the next look follows it
        await operators.settings.refresh()


def _operator(request: web.Request) -> Token:
    token = request[TOKEN]
    if token.tenant is not None:
        raise ForbiddenError("a pool is everybody's: a token with a tenant cannot change it")
    return token


def _name_of(request: web.Request) -> str:
    name = request.match_info["name"]
    if not POOL_PATTERN.fullmatch(name):
        raise NotFoundError("there is no such pool")
    return name


def _entry_view(entry: AuditEntry) -> AuditEntryView:
    return AuditEntryView(
        id=entry.id,
        who=entry.who,
        tenant=entry.tenant,
        what=entry.action,
        target=entry.target,
        filter=None if entry.filter is None else dict(entry.filter),
        count=entry.count,
        when=entry.at,
    )
