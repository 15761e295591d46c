"""Grouping: submissions that arrive together are committed together, which is what makes durability cheap."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from headrace.contracts.errors import ApiError, StoreUnavailableError
from headrace.contracts.job import Job
from headrace.scheduler.drafts import Draft
from headrace.scheduler.tasks import Tasks

MAX_BATCH = 1000
LANES = 4
"""Commits of one pool under way at once. While one waits for the disk the next may begin, so nobody waits in an idle
or lightly loaded service; when all are busy, what arrives gathers into the next batch."""
WAIT_SECONDS = 1.8
"""A submission that has not begun to be stored by then is refused: the answer comes within two seconds."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Stored:
    """A job that is stored: the new one, or the one that has the same idempotency key."""

    job: Job
    created: bool


Outcome = Stored | ApiError
Commit = Callable[[str, Sequence[Draft]], Awaitable[Sequence[Outcome]]]
"""Stores drafts of one pool. One outcome per draft, in order; an error is an outcome, and each stands for itself."""


@dataclass(eq=False)
class _Item:
    draft: Draft
    future: asyncio.Future[Stored]
    begun: bool = False


@dataclass
class _Pool:
    waiting: deque[_Item] = field(default_factory=deque)
    lanes: int = 0
    is_scheduled: bool = False


class Intake:
    """Hands drafts to `commit` in batches, per pool in the order of arrival.

    A caller that is cancelled leaves nothing behind when its draft has not begun to be stored, and otherwise a whole
    job: commits run in tasks of their own.
    """

    def __init__(self, commit: Commit, tasks: Tasks) -> None:
        self._commit = commit
        self._tasks = tasks
        self._pools: dict[str, _Pool] = {}

    async def submit(self, draft: Draft) -> Stored:
        """Store one draft.

        Raises:
            ApiError: What became of it instead.
        """
        loop = asyncio.get_running_loop()
        item = _Item(draft, loop.create_future())
        pool = self._pools.setdefault(draft.pool, _Pool())
        pool.waiting.append(item)
        if not pool.is_scheduled:
            pool.is_scheduled = True
            # Not at once: what else arrives in this turn of the loop joins the batch.
            loop.call_soon(self._pump, draft.pool)
        try:
            await asyncio.wait((item.future,), timeout=WAIT_SECONDS)
            if not item.begun:
                raise StoreUnavailableError("the stores are too slow to take this job now", retry_after_seconds=2)
            return await asyncio.shield(item.future)
        finally:
            if not item.begun:
                pool.waiting.remove(item)

    def _pump(self, name: str) -> None:
        pool = self._pools[name]
        pool.is_scheduled = False
        while pool.waiting and pool.lanes < LANES:
            batch = [pool.waiting.popleft() for _ in range(min(MAX_BATCH, len(pool.waiting)))]
            for item in batch:
                item.begun = True
            pool.lanes += 1
            self._tasks.start(self._run(name, batch))

    async def _run(self, name: str, batch: list[_Item]) -> None:
        try:
            outcomes = await self._commit(name, [item.draft for item in batch])
        except Exception:
            log.exception("intake.batch_failed", pool=name, count=len(batch))
            outcomes = [ApiError("something failed while the job was stored", job_id=i.draft.id) for i in batch]
        finally:
            self._pools[name].lanes -= 1
            self._pump(name)
        for item, outcome in zip(batch, outcomes, strict=True):
            _resolve(item.future, outcome)


def _resolve(future: asyncio.Future[Stored], outcome: Outcome) -> None:
    if isinstance(outcome, Stored):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)
        future.exception()  # the caller may be gone
