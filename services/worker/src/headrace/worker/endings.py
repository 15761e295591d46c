"""What is written for a run that has ended: the settlement of its result, its error, its limit or its stop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import structlog
from dramatiq.threading import Interrupt

from headrace.contracts.errors import DependencyDown
from headrace.contracts.executor import JobExecutor
from headrace.runtime.store.values import Settlement
from headrace.worker import outcome
from headrace.worker.breakers import Dependencies
from headrace.worker.held import Held, Stop
from headrace.worker.interrupt import SoftLimit

log = structlog.get_logger(__name__)


class Endings:
    """Decides how runs end. Any thread.

    None for a settlement means: write nothing, the attempt no longer counts.

    Args:
        executors: By job type, for their retry policies.
        limit_bytes: How large a result may be.
        loop: Where breakers are told of failures.
        dependencies: The breakers of what jobs depend on.
    """

    def __init__(
        self,
        *,
        executors: Mapping[str, JobExecutor[Any]],
        limit_bytes: int,
        loop: asyncio.AbstractEventLoop,
        dependencies: Dependencies | None = None,
    ) -> None:
        self._executors = executors
        self._limit_bytes = limit_bytes
        self._loop = loop
        self._dependencies = dependencies

    def of_result(self, held: Held, result: Any, *, progress: tuple[float, str] | None) -> Settlement | None:
        """The executor returned. A cancel that was accepted meanwhile wins in MongoDB.

        Raises:
            ValueError: The result is too large or no JSON.
        """
        if held.stop is Stop.LOST:
            return None
        text = outcome.encode_result(result, limit_bytes=self._limit_bytes)
        return outcome.completed(held.job, text, started_ms_ago=held.started_ms_ago() or 0, progress=progress)

    def of_error(self, held: Held, error: BaseException) -> Settlement | None:
        """The executor raised, or could not begin."""
        if held.stop is not None:
            return self.of_stop(held)
        # A `LeaseLost` or `JobCancelled` that nobody asked for is an error like others: else a job that raises one
        # each time would be handed back without cost for ever. If the attempt is really lost, or a cancel was
        # accepted, the settlement finds that out.
        if isinstance(error, Interrupt):
            error = _timeout_of(held) if isinstance(error, SoftLimit) else RuntimeError("interrupted")
        if isinstance(error, DependencyDown):
            return self._park(held, error)
        policy = self._executors[held.job.type].policy.retry
        return outcome.failed(
            held.job, error, policy=policy, jitter=random.random(), started_ms_ago=held.started_ms_ago()
        )

    def of_limit(self, held: Held) -> Settlement | None:
        """It ran for as long as it may."""
        return self.of_error(held, _timeout_of(held))

    def of_stop(self, held: Held) -> Settlement | None:
        """It was told to stop, and has."""
        if held.stop is Stop.CANCEL:
            return outcome.cancelled(held.job, started_ms_ago=held.started_ms_ago())
        if held.stop is Stop.RELEASE:
            return outcome.released(held.job, started_ms_ago=held.started_ms_ago())
        return None

    def _park(self, held: Held, error: DependencyDown) -> Settlement:
        """Back without a failure, until the dependency is tried again."""
        seconds = 1.0
        if self._dependencies is not None:
            if not error.is_counted:
                failed = self._dependencies.failed(error.name, job_type=held.job.type, error=error)
                asyncio.run_coroutine_threadsafe(failed, self._loop)
            seconds = self._dependencies.park_seconds(error.name, jitter=random.random())
        log.info("job.parked", job_id=held.job.id, dependency=error.name, seconds=round(seconds, 1))
        return outcome.released(held.job, started_ms_ago=held.started_ms_ago(), delay_ms=int(seconds * 1000))


def _timeout_of(held: Held) -> outcome.JobTimeout:
    return outcome.JobTimeout(f"ran longer than {held.job.timeout_seconds:g} s")
