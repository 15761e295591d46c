"""What a running job is given: `JobContext`, with every write guarded by the attempt."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import structlog
from pydantic import JsonValue

from headrace.contracts.errors import JobCancelled, LeaseLost, StoreUnavailableError
from headrace.contracts.executor import JobLog
from headrace.runtime.process.failpoints import afp
from headrace.runtime.store.state_manager import JobStateManager
from headrace.worker.attempt_log import AttemptLog
from headrace.worker.breakers import Dependencies
from headrace.worker.held import Held, Stop
from headrace.worker.job_output import JobLogger
from headrace.worker.outcome import bounded_json, clean_text
from headrace.worker.sync_context import SyncContext

MAX_RETRY_SECONDS = 2.0


class RunningContext:
    """The context of one attempt.

    Args:
        held: The job.
        state: Where progress and checkpoints go.
        owner: The incarnation that holds the job.
        loop: The event loop that the stores belong to.
        limit_bytes: How large a checkpoint may be.
        scratch_root: Where scratch folders are made.
        lines: Where the lines of the job's logger are kept besides.
        dependencies: The breakers of what jobs depend on; without them nothing is ever held up.
    """

    def __init__(
        self,
        held: Held,
        *,
        state: JobStateManager,
        owner: str,
        loop: asyncio.AbstractEventLoop,
        limit_bytes: int,
        scratch_root: Path,
        lines: AttemptLog | None = None,
        dependencies: Dependencies | None = None,
    ) -> None:
        self._held = held
        self._state = state
        self._owner = owner
        self._loop = loop
        self._limit_bytes = limit_bytes
        self._scratch_root = scratch_root
        self._scratch: Path | None = None
        self._unsaved: tuple[float, str] | None = None
        self.progress: tuple[float, str] | None = None
        job = held.job
        self._checkpoint: JsonValue = json.loads(job.checkpoint) if job.checkpoint is not None else None
        self._lines = lines
        self._dependencies = dependencies
        self._log: JobLog | None = None

    @property
    def job_id(self) -> str:
        """The job."""
        return self._held.job.id

    @property
    def attempt(self) -> int:
        """The fencing token."""
        return self._held.job.attempt

    @property
    def checkpoint(self) -> JsonValue:
        """The last saved checkpoint of any attempt, this one's included."""
        return self._checkpoint

    @property
    def scratch_dir(self) -> Path:
        """A folder of this attempt alone."""
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix=f"{self.job_id}-{self.attempt}-", dir=self._scratch_root))
        return self._scratch

    @property
    def log(self) -> JobLog:
        """The job's logger."""
        if self._log is None:
            job = self._held.job
            logger = structlog.get_logger("headrace.job").bind(job_id=job.id, type=job.type, attempt=job.attempt)
            self._log = JobLogger(self._lines, logger)
        return self._log

    @property
    def cancelled(self) -> bool:
        """Whether the job should stop, for whatever reason."""
        return self._held.stop is not None

    @property
    def sync(self) -> SyncContext:
        """The waiting forms, for plain functions."""
        return SyncContext(self, self._loop)

    async def report_progress(self, fraction: float, message: str = "") -> None:
        """See `JobContext.report_progress`."""
        self.check()
        # Text that no store takes would travel with the settlement, which could then never be written.
        value = (min(1.0, max(0.0, float(fraction))), clean_text(str(message))[:1000])
        self.progress = self._unsaved = value

    async def save_checkpoint(self, value: JsonValue) -> None:
        """See `JobContext.save_checkpoint`. While MongoDB is away it waits, as long as the job's own limit allows."""
        self.check()
        text = bounded_json(value, what="checkpoint", limit_bytes=self._limit_bytes)
        await afp("worker.before_checkpoint")
        await self._until_saved(
            lambda: self._state.save_checkpoint(
                self.job_id, self.attempt, self._owner, text, started_ms_ago=self._held.started_ms_ago()
            )
        )
        await afp("worker.after_checkpoint")
        self._checkpoint = json.loads(text)

    def dependency(self, name: str) -> AbstractAsyncContextManager[None]:
        """See `JobContext.dependency`."""
        if self._dependencies is None:
            return contextlib.nullcontext()
        return self._dependencies.using(name, job_type=self._held.job.type)

    async def flush_progress(self) -> tuple[float, str] | None:
        """Save the last progress if it changed. Called about once a second, never by the job itself.

        Returns:
            What was saved now.
        """
        unsaved, self._unsaved = self._unsaved, None
        if unsaved is None:
            return None
        try:
            await self._state.save_progress(
                self.job_id,
                self.attempt,
                self._owner,
                fraction=unsaved[0],
                message=unsaved[1],
                started_ms_ago=self._held.started_ms_ago(),
            )
        except LeaseLost:
            self._held.ask_to_stop(Stop.LOST)
        except JobCancelled:
            self._held.ask_to_stop(Stop.CANCEL)
        except StoreUnavailableError:
            self._unsaved = self.progress  # the newest; it goes with the next pass
        else:
            return unsaved
        return None

    def check(self) -> None:
        """Raise if this attempt should stop.

        Raises:
            JobCancelled: A cancel was asked for.
            LeaseLost: The attempt no longer counts, or its worker shuts down and hands it back.
        """
        if self._held.stop is Stop.CANCEL:
            raise JobCancelled(f"a cancel of {self.job_id} was asked for")
        if self._held.stop is not None:
            raise LeaseLost(f"attempt {self.attempt} of {self.job_id} no longer counts")

    def close(self) -> None:
        """Remove the scratch folder, whatever is in it."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    async def _until_saved(self, save: Callable[[], Awaitable[None]]) -> None:
        pause = 0.05
        while True:
            try:
                await save()
            except StoreUnavailableError:
                self.check()
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_RETRY_SECONDS)
            except LeaseLost:
                self._held.ask_to_stop(Stop.LOST)
                raise
            except JobCancelled:
                self._held.ask_to_stop(Stop.CANCEL)
                raise
            else:
                return
