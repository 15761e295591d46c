"""Follow an event stream over lost connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from headrace.client.events import GAP, SNAPSHOT, Event, EventParser
from headrace.client.transport import NotReachableError, Transport, pause
from headrace.contracts.errors import ApiError


async def follow_stream(
    transport: Transport,
    path: str,
    *,
    query: Mapping[str, str],
    resume_at: str | None,
    patience_seconds: float,
    has_end: bool,
) -> AsyncGenerator[Event, None]:
    """Every event, each once and in order; where some are lost, a `job.gap` in their place.

    Args:
        transport: Opens the connections.
        path: Of the stream.
        query: Of the stream.
        resume_at: Begin behind this event.
        patience_seconds: How long the server may be away once it has answered.
        has_end: Whether the stream is of one job, so that it ends with it.

    Raises:
        ApiError: The server refuses the stream.
        NotReachableError: It never answered, or was away for longer than `patience_seconds`.
    """
    failures, place = 0, resume_at
    seen_at: float | None = None
    while True:
        is_open = False
        error: ApiError | NotReachableError = NotReachableError(f"{transport.server} ended the event stream")
        try:
            headers = {} if place is None else {"Last-Event-ID": place}
            async with transport.stream(path, query=query, headers=headers) as content:
                events = _read(content.iter_any(), is_again=seen_at is not None and place is not None)
                is_open = True
                async for event in events:
                    failures, place = 0, event.resume_at or place
                    yield event
                    if has_end and event.is_end:
                        return
        except (ApiError, NotReachableError) as failed:
            if not transport.can_help(failed):
                raise
            error = failed
        failures += 1
        seen_at = time.monotonic() if is_open else seen_at
        is_over = failures >= transport.tries if seen_at is None else time.monotonic() - seen_at > patience_seconds
        if is_over:
            raise error
        await asyncio.sleep(pause(failures, error))


async def _read(chunks: AsyncIterator[bytes], *, is_again: bool) -> AsyncIterator[Event]:
    """The events of one connection.

    A stream of one job begins with how the job stands. On a resumed connection that comes before what was missed, so
    it is held back, and only told where a gap makes it the best that is known.
    """
    parser = EventParser()
    held: Event | None = None
    is_first = True
    async for chunk in chunks:
        for event in parser.feed(chunk):
            if is_again and is_first and event.name == SNAPSHOT:
                held, is_first = event, False
                continue
            is_first = False
            yield event
            if held is not None and event.name == GAP:
                yield held
            held = None
