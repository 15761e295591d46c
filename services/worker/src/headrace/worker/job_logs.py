"""Writes what jobs said, in batches: about once a second, and when a job ends."""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.job import Job
from headrace.runtime.store.job_logs import JobLogs, LogBatch
from headrace.worker.attempt_log import AttemptLog

BATCH = 100
MAX_UNSAVED = 2000
"""Attempts whose lines wait for MongoDB. The oldest lose theirs then: a job's end does not wait for its log."""
WRITE_SECONDS = 1.0
GATHER_SECONDS = 0.05

log = structlog.get_logger(__name__)


class JobLogWriter:
    """Writes the lines of one child's jobs, about once a second and when a job ends. Runs on the event loop."""

    def __init__(self, store: JobLogs, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop
        self._waiting: deque[AttemptLog] = deque()
        self._wake = asyncio.Event()
        self._told = False
        self._stopping = False

    def open(self, job: Job) -> AttemptLog:
        """Where an attempt's lines go. From any thread."""
        return AttemptLog(job, self._waiting.append)

    def close(self, lines: AttemptLog, *, counts: bool = True) -> None:
        """The attempt is over. From any thread.

        Args:
            lines: Its lines.
            counts: False: it was taken from this child; what is not written yet is forgotten.
        """
        if not counts:
            lines.discard()
            return
        lines.end()
        if lines.has_news:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Write until stopped."""
        while not self._stopping:
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._wake.wait()
                await asyncio.sleep(GATHER_SECONDS)  # one write for the jobs of a moment
            except TimeoutError:
                pass
            self._wake.clear()
            await self.flush()

    def stop(self) -> None:
        """End `run`. What is left is written by one more `flush`."""
        self._stopping = True
        self._wake.set()

    async def flush(self) -> None:
        """Write what waits. Never raises."""
        while len(self._waiting) > MAX_UNSAVED:
            self._waiting.popleft().discard()
        for _ in range(len(self._waiting) // BATCH + 1):
            logs = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            taken = [(lines, batch) for lines in logs if (batch := lines.take()) is not None]
            if not taken or not await self._write(taken):
                return

    async def _write(self, taken: list[tuple[AttemptLog, LogBatch]]) -> bool:
        try:
            await self._store.append([batch for _, batch in taken])
        except StoreUnavailableError as error:
            for lines, batch in taken:
                lines.put_back(batch)
            if not self._told:
                log.warning("job_logs.waiting_for_store", detail=str(error))
            self._told = True
            return False
        except Exception:
            log.exception("job_logs.not_written", attempts=len(taken))
        self._told = False
        return True
