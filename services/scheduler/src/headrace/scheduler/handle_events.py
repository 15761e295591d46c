"""`GET /v1/events` and `GET /v1/jobs/{id}/events`: server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from headrace.contracts.api import JobEventView
from headrace.contracts.errors import NotFoundError, StoreUnavailableError
from headrace.contracts.events import JobEvent
from headrace.contracts.states import JobState
from headrace.contracts.values import PoolName, TypeName, to_rfc3339
from headrace.runtime.process.lifecycle import STOPPING
from headrace.runtime.queue.event_rows import EventId
from headrace.runtime.store.event_reads import EventReads
from headrace.runtime.web.auth import TOKEN
from headrace.runtime.web.query import check_names, read_headers, read_query
from headrace.runtime.web.streams import begin_stream, is_gone
from headrace.scheduler.event_hub import HUB, EventHub
from headrace.scheduler.event_streams import EventStream, Gap, Item, Over, Wanted
from headrace.scheduler.handle_reads import job_id_of
from headrace.scheduler.services import SERVICES, Services

COMMENT_SECONDS = 10.0
"""How long a stream is silent at most; the API promises 15."""
LOOK_SECONDS = 2.0
"""How soon a client that went away gives its place back."""
WRITE_SECONDS = 30.0
"""A client that takes nothing for so long is cut off."""


class EventsQuery(BaseModel):
    """The query of `GET /v1/events`. Everything given must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: TypeName | None = None
    pool: PoolName | None = None


class EventHeaders(BaseModel):
    """The headers of event streams."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    last_event_id: str | None = Field(default=None, alias="Last-Event-ID", max_length=100)


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Events of all jobs that the token may see."""
    query = read_query(request, EventsQuery)
    after = read_headers(request, EventHeaders).last_event_id
    hub = request.app[HUB]
    with hub.open(Wanted(type=query.type, pool=query.pool, tenant=request[TOKEN].tenant)) as stream:
        await hub.join(stream)
        return await _answer(request, _all_frames(hub, stream, after))


async def stream_job_events(request: web.Request) -> web.StreamResponse:
    """Events of one job, from how it stands now to its end."""
    check_names(request, ())
    after = read_headers(request, EventHeaders).last_event_id
    services, hub = request.app[SERVICES], request.app[HUB]
    job_id, tenant = job_id_of(request), request[TOKEN].tenant
    with hub.open(Wanted(job_id=job_id, tenant=tenant)) as stream:
        await hub.join(stream)  # first: what happens after this read comes by itself
        now = await _standing(services, job_id, tenant)
        return await _answer(request, _job_frames(services, hub, stream, now, after))


async def _standing(services: Services, job_id: str, tenant: str | None) -> JobEvent:
    reads = EventReads(services.stores.database)
    standing = await services.stores.mongo.read(lambda: reads.standing([job_id]))
    event = standing.get(job_id)
    if event is None or (tenant is not None and event.tenant != tenant):
        raise NotFoundError("there is no such job")
    return event


# -- what is said ----------------------------------------------------------------------------------------------


async def _all_frames(hub: EventHub, stream: EventStream, after: str | None) -> AsyncIterator[str]:
    yield ": welcome\n\n"
    known = EventId.parse(after) if after is not None else None
    if after is not None:
        async for what in hub.history(stream, after):
            yield _frame(what)
            if isinstance(what, Gap):
                known = None
    async for live in _live(stream):
        if live is None:
            yield ": still here\n\n"
        elif isinstance(live, Gap) or (isinstance(live, Item) and (known is None or live.id > known)):
            yield _frame(live)


async def _job_frames(
    services: Services, hub: EventHub, stream: EventStream, now: JobEvent, after: str | None
) -> AsyncIterator[str]:
    """The snapshot, what was missed, what comes, and the end."""
    yield _text("job.snapshot", now, stream.start)
    if after is not None:
        async for what in hub.history(stream, after):
            yield _frame(what)
            if _is_end(what):
                return
    if now.state.is_terminal:
        yield _text(now.event.value, now, None)
        return
    async for live in _live(stream):
        if live is None:
            yield ": still here\n\n"
        elif isinstance(live, Gap):
            yield _frame(live)
            now = await _now_or(services, now)  # an end that was among what is lost comes with the next look
            yield _text("job.snapshot", now, live.resume_at)
        elif isinstance(live, Over):
            if live.event is not None:
                yield _text(live.event.event.value, live.event, None)
            return
        elif not _is_older(live.event, now):
            yield _frame(live)
            if _is_end(live):
                return


async def _now_or(services: Services, known: JobEvent) -> JobEvent:
    try:
        return await _standing(services, known.id, None)
    except (NotFoundError, StoreUnavailableError):
        return known


def _is_end(what: Item | Gap) -> bool:
    return isinstance(what, Item) and what.event.state.is_terminal


async def _live(stream: EventStream) -> AsyncIterator[Item | Gap | Over | None]:
    """What comes; None when a comment is due, and now and then for a look at the client."""
    said = time.monotonic()
    while True:
        what = await stream.take(within=COMMENT_SECONDS - (time.monotonic() - said))
        said = time.monotonic()
        yield what


def _is_older(event: JobEvent, snapshot: JobEvent) -> bool:
    """Whether the snapshot says more: events may still be on their way when the truth is read."""
    if event.attempt != snapshot.attempt:
        return event.attempt < snapshot.attempt
    return snapshot.state is JobState.QUEUED and not event.state.is_terminal


def _frame(what: Item | Gap) -> str:
    if isinstance(what, Item):
        return _text(what.event.event.value, what.event, what.id)
    place = f"id: {what.resume_at}\n" if what.resume_at is not None else ""
    return f'event: job.gap\n{place}data: {{"at":"{to_rfc3339(datetime.now(UTC))}"}}\n\n'


def _text(name: str, event: JobEvent, place: EventId | None) -> str:
    line = f"id: {place}\n" if place is not None else ""
    return f"event: {name}\n{line}data: {JobEventView.of(event).model_dump_json()}\n\n"


# -- how it is sent --------------------------------------------------------------------------------------------


async def _answer(request: web.Request, frames: AsyncIterator[str]) -> web.StreamResponse:
    """Write frames until they end, the client goes away or the service stops."""
    response = await begin_stream(request)
    writing = asyncio.ensure_future(_write(response, frames))
    stopping = asyncio.ensure_future(request.app[STOPPING].wait())
    try:
        while not writing.done() and not stopping.done() and not is_gone(request):
            await asyncio.wait({writing, stopping}, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        cut = not writing.done()
        for task in (writing, stopping):
            task.cancel()
        results = await asyncio.gather(writing, stopping, return_exceptions=True)
    error = results[0]
    if isinstance(error, Exception) and not isinstance(error, ConnectionError | TimeoutError):
        raise error
    if (cut or error is not None) and not is_gone(request) and request.transport is not None:
        buffered = request.transport.get_write_buffer_size()
        if buffered:  # it does not read: a polite end would wait for it
            request.transport.abort()
    return response


async def _write(response: web.StreamResponse, frames: AsyncIterator[str]) -> None:
    async for frame in frames:
        async with asyncio.timeout(WRITE_SECONDS):
            await response.write(frame.encode())
