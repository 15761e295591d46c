"""The one reader of the event log in this process, and every stream that hangs on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from aiohttp import web

from headrace.contracts.errors import RateLimitedError, StoreUnavailableError
from headrace.contracts.events import JobEvent
from headrace.runtime.queue.event_rows import EventId
from headrace.runtime.queue.history import EventLog, EventPage
from headrace.scheduler.event_streams import EventStream, Gap, Item, Over, Wanted

MAX_STREAMS = 500
POLL_SECONDS = 1.0
"""The log is read this often without a hint, and the truth is asked as often about jobs that are watched."""
PAGE_EVENTS = 500
TRUTH_PIECE = 500
RETRY_SECONDS = 5.0

Standing = Callable[[list[str]], Awaitable[dict[str, JobEvent]]]

log = structlog.get_logger(__name__)


class EventHub:
    """Reads the log while somebody listens, and hands each event to the streams that want it.

    Args:
        events: The log. Its reads are best effort: while Redis is away, streams of one job live on the truth alone.
        hints: The log on a client for subscriptions.
        standing: Asks the truth how jobs stand.
        max_streams: Open at once in this process.
    """

    def __init__(
        self, events: EventLog, hints: EventLog, standing: Standing, *, max_streams: int = MAX_STREAMS
    ) -> None:
        self._events = events
        self._hints = hints
        self._standing = standing
        self._max_streams = max_streams
        self._streams: set[EventStream] = set()
        self._position: EventId | None = None
        """Where the log was read up to; None while nobody listens, or Redis is away."""
        self._is_behind = False
        """Whether streams wait for a position since Redis went away."""
        self._reading = asyncio.Lock()
        self._some = asyncio.Event()
        self._is_closed = False

    @contextmanager
    def open(self, wanted: Wanted) -> Iterator[EventStream]:
        """A stream that is fed as long as this lasts. Await `join` before anything is taken from it.

        Raises:
            RateLimitedError: Too many are open.
        """
        if len(self._streams) >= self._max_streams:
            raise RateLimitedError(
                f"this process has {self._max_streams} event streams open", retry_after_seconds=RETRY_SECONDS
            )
        stream = EventStream(wanted, start=None)
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    @property
    def open_streams(self) -> int:
        """How many are open."""
        return len(self._streams)

    async def join(self, stream: EventStream) -> None:
        """Say from where on the stream gets everything by itself."""
        async with self._reading:
            if self._position is None and not self._is_behind:
                await self._take_position()
            stream.start = self._position

    async def history(self, stream: EventStream, after: str) -> AsyncIterator[Item | Gap]:
        """What the stream wants of the log between `after` and its own start; ends with a gap where that is lost."""
        start = stream.start
        while start is not None:
            try:
                page = await self._events.read(after, PAGE_EVENTS)
            except StoreUnavailableError:
                break
            if page.gap:
                break
            for item in _items(page):
                if item.id > start:
                    return
                if item.event in stream.wanted:
                    yield item
            if page.last is None or page.last == after:
                return
            after = page.last
        yield Gap(start)

    # -- the loops ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read until closed."""
        listening = asyncio.create_task(self._listen())
        watching = asyncio.create_task(self._watch())
        try:
            while not self._is_closed:
                await self._rest()
                try:
                    await self._turn()
                except Exception:
                    # Silence on every stream would look like a quiet system.
                    log.exception("events.pump_failed")
        finally:
            for task in (listening, watching):
                task.cancel()
            await asyncio.gather(listening, watching, return_exceptions=True)

    async def _turn(self) -> None:
        async with self._reading:
            if self._streams:
                await self._pump()
            else:
                self._position, self._is_behind = None, False

    def close(self) -> None:
        """Let `run` end."""
        self._is_closed = True
        self._some.set()

    async def _listen(self) -> None:
        async with self._hints.hints() as hints:
            async for _ in hints:
                self._some.set()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._some.wait()
        except TimeoutError:
            pass
        self._some.clear()

    async def _pump(self) -> None:
        """Hand on everything new."""
        while self._streams and not self._is_closed:
            if self._position is None:
                await self._take_position()
                if self._position is None:
                    return
            if self._is_behind:
                self._is_behind = False
                self._tell_gap()
            try:
                page = await self._events.read(str(self._position), PAGE_EVENTS)
            except StoreUnavailableError:
                # It may be another Redis, or an older one, when it comes back; the position itself will tell.
                return
            if page.gap:
                log.info("events.gap", streams=len(self._streams))
                self._position, self._is_behind = None, True
                continue
            for item in _items(page):
                for stream in self._streams:
                    stream.offer(item)
            before, self._position = self._position, EventId.parse(page.last or "") or self._position
            if self._position == before:
                return

    async def _take_position(self) -> None:
        try:
            self._position = EventId.parse(await self._events.end())
        except StoreUnavailableError:
            self._is_behind = True

    def _tell_gap(self) -> None:
        for stream in self._streams:
            stream.tell(Gap(self._position))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.watch()
            except StoreUnavailableError as error:
                log.debug("events.truth_not_asked", reason=error.detail)
            except Exception:
                log.exception("events.watch_failed")

    async def watch(self) -> None:
        """Tell the streams of single jobs which of these are over, whatever events said."""
        streams = [stream for stream in self._streams if stream.wanted.job_id is not None]
        ids = sorted({stream.wanted.job_id for stream in streams if stream.wanted.job_id is not None})
        for first in range(0, len(ids), TRUTH_PIECE):
            piece = ids[first : first + TRUTH_PIECE]
            standing = await self._standing(piece)
            over = {job_id: standing.get(job_id) for job_id in piece}
            over = {job_id: event for job_id, event in over.items() if event is None or event.state.is_terminal}
            if not over:
                continue
            async with self._reading:
                await self._pump()  # the event itself may have come by now, and the ones before it
            for stream in streams:
                if stream.wanted.job_id in over:
                    stream.tell(Over(over[stream.wanted.job_id]))


def _items(page: EventPage) -> Iterator[Item]:
    for text, event in page.events:
        place = EventId.parse(text)
        if place is not None:
            yield Item(place, event)


HUB: Final = web.AppKey("HUB", EventHub)
