"""`GET /live`: server-sent events that say when a page is out of date. What is new the page then asks for itself."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Final, Protocol

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from headrace.contracts.errors import (
    FieldError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    StoreUnavailableError,
)
from headrace.monitor.sources import MongoSource
from headrace.runtime.process.every import stops_within
from headrace.runtime.process.lifecycle import STOPPING
from headrace.runtime.web.auth import TOKEN, Scope
from headrace.runtime.web.problems import refused
from headrace.runtime.web.query import read_query
from headrace.runtime.web.routes import EVENT_STREAM, Route
from headrace.runtime.web.streams import begin_stream, is_gone

MAX_STREAMS = 200
MAX_TOPICS = 20
LOOK_SECONDS = 1.0
COMMENT_SECONDS = 10.0
"""How long a stream is silent at most."""
WRITE_SECONDS = 10.0
"""A browser that takes nothing for so long is cut off."""

_TOPIC: Final = re.compile(r"every:([1-9]|[1-5][0-9]|60)|job:([0-9A-Za-z-]{1,100})")


class LiveQuery(BaseModel):
    """What the pages of a browser are about, separated by commas.

    `job:ID` changes with that job; `every:N` is for pages about the whole, which are new about every N seconds.
    """

    model_config = ConfigDict(extra="forbid")

    topics: str = Field(min_length=1, max_length=MAX_TOPICS * 110)


class Topic(Protocol):
    """Something that pages are about."""

    async def has_changed(self) -> bool:
        """Whether it has since this was asked last."""
        ...


class Ticks:
    """The whole: something of it is new all the time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due = time.monotonic() + seconds

    async def has_changed(self) -> bool:
        """Whether it is time to look again; at most half a look too early, so as not to be a whole one late."""
        now = time.monotonic()
        if now + LOOK_SECONDS / 2 < self._due:
            return False
        self._due = now + self._seconds
        return True


class OneJob:
    """A job, by what its page would show."""

    def __init__(self, mongo: MongoSource, job_id: str, *, tenant: str | None) -> None:
        self._mongo = mongo
        self._id = job_id
        self._tenant = tenant
        self._known: str | None = None

    async def exists(self) -> bool:
        """Take how it stands now. True as well while MongoDB cannot say."""
        try:
            self._known = await self._mongo.pulse(self._id, tenant=self._tenant)
        except StoreUnavailableError:
            return True
        return self._known is not None

    async def has_changed(self) -> bool:
        """Whether it has. While MongoDB does not answer nothing is said; the page itself tells what is down."""
        try:
            new = await self._mongo.pulse(self._id, tenant=self._tenant)
        except StoreUnavailableError:
            return False
        if new is None or new == self._known:
            return False
        self._known = new
        return True


class Live:
    """The streams of this process. `open`: how many there are now."""

    def __init__(self, mongo: MongoSource) -> None:
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
                summary="Says when pages are out of date",
                query=LiveQuery,
                responses={200: None},
                problems=(RateLimitedError, NotFoundError),
                tags=["pages"],
                media_type=EVENT_STREAM,
            )
        ]

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Write `changed` and the topic whenever one has changed, until the browser or this service goes."""
        names = read_query(request, LiveQuery).topics.split(",")
        if self.open >= MAX_STREAMS:
            raise RateLimitedError(f"{MAX_STREAMS} pages are live already", retry_after_seconds=10)
        self.open += 1
        try:
            return await _answer(request, await self._topics(names, request[TOKEN].tenant))
        finally:
            self.open -= 1

    async def _topics(self, names: list[str], tenant: str | None) -> Mapping[str, Topic]:
        """Those that exist: one page about a job that is gone must not silence the others."""
        if len(names) > MAX_TOPICS:
            raise refused([FieldError("/topics", "too_many", f"at most {MAX_TOPICS} topics", "query")])
        found: dict[str, Topic] = {}
        for name in names:
            match = _TOPIC.fullmatch(name)
            if match is None:
                raise refused([FieldError("/topics", "form", "must look like job:ID or every:SECONDS", "query")])
            seconds, job_id = match.groups()
            if seconds is not None and tenant is not None:
                raise ForbiddenError("the whole shows every tenant's jobs; it needs a token without a tenant")
            if seconds is not None:
                found[name] = Ticks(float(seconds))
                continue
            job = OneJob(self._mongo, job_id, tenant=tenant)
            if await job.exists():
                found[name] = job
        if not found:
            raise NotFoundError("there is no such job")
        return found


async def _answer(request: web.Request, topics: Mapping[str, Topic]) -> web.StreamResponse:
    response = await begin_stream(request)
    stopping = request.app[STOPPING]
    said = time.monotonic()
    try:
        await _say(response, "hello")
        while not await stops_within(stopping, LOOK_SECONDS) and not is_gone(request):
            for name, topic in topics.items():
                if await topic.has_changed():
                    said = time.monotonic()
                    await _say(response, "changed", name)
            if time.monotonic() - said > COMMENT_SECONDS:
                said = time.monotonic()
                # Not a comment: scripts do not see those, and could not tell silence from a lost connection.
                await _say(response, "still")
    except (ConnectionError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()
    return response


async def _say(response: web.StreamResponse, event: str, data: str = "-") -> None:
    """Write an event; one without data would not be told to scripts."""
    async with asyncio.timeout(WRITE_SECONDS):
        await response.write(f"event: {event}\ndata: {data}\n\n".encode())
