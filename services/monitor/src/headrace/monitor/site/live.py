"""`GET /live`: server-sent events that say when a page is out of date. What is new the page then asks for itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field

from headrace.contracts.errors import ForbiddenError, NotFoundError, RateLimitedError, StoreUnavailableError
from headrace.monitor.overview import Overview
from headrace.monitor.sources import MongoSource
from headrace.runtime.process.lifecycle import STOPPING
from headrace.runtime.web.auth import TOKEN, Scope
from headrace.runtime.web.query import read_query
from headrace.runtime.web.routes import EVENT_STREAM, Route

MAX_STREAMS = 200
LOOK_SECONDS = 1.0
COMMENT_SECONDS = 10.0
"""How long a stream is silent at most."""
WRITE_SECONDS = 10.0
"""A browser that takes nothing for so long is cut off."""

log = structlog.get_logger(__name__)


class LiveQuery(BaseModel):
    """What the page is about. `job`: one job; absent: the whole, which is new about every `every` seconds."""

    model_config = ConfigDict(extra="forbid")

    job: str | None = Field(default=None, max_length=100)
    every: int = Field(default=2, ge=1, le=60)


class Live:
    """The streams of this process."""

    def __init__(self, overview: Overview, mongo: MongoSource) -> None:
        self._overview = overview
        self._mongo = mongo
        self.open = 0

    def routes(self) -> list[Route]:
        """The stream."""
        return [
            Route(
                "GET",
                "/live",
                self.stream,
                scope=Scope.READ,
                summary="Says when a page is out of date",
                query=LiveQuery,
                responses={200: None},
                problems=(RateLimitedError, NotFoundError),
                tags=["pages"],
                media_type=EVENT_STREAM,
            )
        ]

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Write `changed` whenever what the page is about has changed, until the browser or this service goes."""
        query = read_query(request, LiveQuery)
        tenant = request[TOKEN].tenant
        if self.open >= MAX_STREAMS:
            raise RateLimitedError(f"{MAX_STREAMS} pages are live already", retry_after_seconds=10)
        if query.job is not None:
            job = query.job
            version: Callable[[], Awaitable[str | None]] = lambda: self._mongo.pulse(job, tenant=tenant)  # noqa: E731
        elif tenant is not None:
            raise ForbiddenError("the whole shows every tenant's jobs; it needs a token without a tenant")
        else:
            version = self._whole
        self.open += 1
        try:
            return await _answer(request, version, LOOK_SECONDS if query.job is not None else float(query.every))
        finally:
            self.open -= 1

    async def _whole(self) -> str:
        return str((await self._overview.picture()).view.at)


async def _answer(
    request: web.Request, version: Callable[[], Awaitable[str | None]], pause_seconds: float
) -> web.StreamResponse:
    try:
        known = await version()
    except StoreUnavailableError:
        known = ""
    if known is None:
        raise NotFoundError("there is no such job")
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: EVENT_STREAM, "X-Accel-Buffering": "no"})
    await response.prepare(request)
    stopping = request.app[STOPPING]
    said = time.monotonic()
    try:
        await _say(response, f"retry: 2000\nevent: hello\ndata: {int(time.time())}\n\n")
        while not await _is_over(stopping, pause_seconds) and not _is_gone(request):
            try:
                new = await version()
            except StoreUnavailableError:
                new = known  # the page itself tells what is down; silence here says nothing wrong
            if new is not None and new != known:
                known, said = new, time.monotonic()
                await _say(response, f"event: changed\ndata: {int(time.time())}\n\n")
            elif time.monotonic() - said > COMMENT_SECONDS:
                said = time.monotonic()
                # Not a comment: scripts do not see those, and could not tell silence from a lost connection.
                await _say(response, f"event: still\ndata: {int(time.time())}\n\n")
    except (ConnectionError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()
    return response


async def _say(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        await response.write(text.encode())


async def _is_over(stopping: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(stopping.wait(), timeout=seconds)
    except TimeoutError:
        return False
    return True


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
