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
LANES = 2
"""Commits of one pool under way at once. While one waits for the disk the next may begin, so nobody waits in an idle
or lightly loaded service; when all are busy, what arrives gathers into the next batch. With one, a slow flush of the
disk holds everybody up; with four, a busy service pays the cost of a whole commit for nearly every job."""
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
class _Group:
    """Drafts that came together and are committed together."""

    drafts: Sequence[Draft]
    future: asyncio.Future[Sequence[Outcome]]
    begun: bool = False


@dataclass
class _Pool:
    waiting: deque[_Group] = field(default_factory=deque)
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
        (outcome,) = await self.submit_together([draft])
        if isinstance(outcome, Stored):
            return outcome
        raise outcome

    async def submit_together(self, drafts: Sequence[Draft]) -> Sequence[Outcome]:
        """Store drafts of one pool, at most `MAX_BATCH`, in one commit. One outcome per draft, in order."""
        loop = asyncio.get_running_loop()
        name = drafts[0].pool
        group = _Group(drafts, loop.create_future())
        pool = self._pools.setdefault(name, _Pool())
        pool.waiting.append(group)
        if not pool.is_scheduled:
            pool.is_scheduled = True
            # Not at once: what else arrives in this turn of the loop joins the batch.
            loop.call_soon(self._pump, name)
        try:
            await asyncio.wait((group.future,), timeout=WAIT_SECONDS)
            if not group.begun:
                return [_too_slow() for _ in drafts]
            return await asyncio.shield(group.future)
        finally:
            if not group.begun:
                pool.waiting.remove(group)

    def _pump(self, name: str) -> None:
        pool = self._pools[name]
        pool.is_scheduled = False
        while pool.waiting and pool.lanes < LANES:
            batch = [pool.waiting.popleft()]
            room = MAX_BATCH - len(batch[0].drafts)
            while pool.waiting and len(pool.waiting[0].drafts) <= room:
                batch.append(pool.waiting.popleft())
                room -= len(batch[-1].drafts)
            for group in batch:
                group.begun = True
            pool.lanes += 1
            self._tasks.start(self._run(name, batch))

    async def _run(self, name: str, batch: list[_Group]) -> None:
        drafts = [draft for group in batch for draft in group.drafts]
        try:
            outcomes = await self._commit(name, drafts)
        except Exception:
            log.exception("intake.batch_failed", pool=name, count=len(drafts))
            outcomes = [ApiError("something failed while the job was stored", job_id=draft.id) for draft in drafts]
        finally:
            self._pools[name].lanes -= 1
            self._pump(name)
        at = 0
        for group in batch:
            group.future.set_result(outcomes[at : at + len(group.drafts)])
            at += len(group.drafts)


def _too_slow() -> StoreUnavailableError:
    return StoreUnavailableError("the stores are too slow to take this job now", retry_after_seconds=2)
