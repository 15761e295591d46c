"""Ids that MongoDB refused to this child: judged by their documents beside the claims, and put where those say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.states import JobState
from headrace.runtime.queue.base import JobQueue
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import Place
from headrace.worker.announce import ChildAnnouncer
from headrace.worker.claim import Pool
from headrace.worker.judge import is_newer, judge
from headrace.worker.strangers import is_stranger, put_away

log = structlog.get_logger(__name__)


class RefusedIds:
    """Judges refused ids in tasks of its own, so that no claim waits for it. On the event loop.

    Args:
        pool: What this child serves.
        state: Where the documents are.
        queue: Where the ids go.
        announcer: Told of what has expired.
    """

    def __init__(
        self, *, pool: Pool, state: JobStateManager, queue: JobQueue, announcer: ChildAnnouncer | None = None
    ) -> None:
        self._pool = pool
        self._state = state
        self._queue = queue
        self._announcer = announcer
        self._judging: set[asyncio.Task[None]] = set()

    def judge_later(self, ids: Sequence[str], *, token: str, now_ms: int, on_strangers: Callable[[], None]) -> None:
        """Judge ids that are in flight under a token.

        Args:
            ids: What MongoDB refused.
            token: The claim's.
            now_ms: Redis' clock at the claim.
            on_strangers: Called when every one of them is a job that this child cannot run.
        """
        task = asyncio.create_task(self._judge(ids, token, now_ms, on_strangers))
        self._judging.add(task)
        task.add_done_callback(self._judging.discard)

    async def until_judged(self) -> None:
        """Wait for what is under way."""
        if self._judging:
            await asyncio.gather(*self._judging, return_exceptions=True)

    async def put_strangers_away(self, *, token: str) -> int:
        """See `put_away`."""
        return await put_away(self._pool, token=token, queue=self._queue, state=self._state)

    async def _judge(self, ids: Sequence[str], token: str, now_ms: int, on_strangers: Callable[[], None]) -> None:
        types, versions = self._pool.types, self._pool.versions
        try:
            places = await self._places(ids)
            verdicts = [judge(place, types=types, versions=versions, now_ms=now_ms) for place in places]
            await self._queue.putback(self._pool.name, token=token, verdicts=verdicts)
        except StoreUnavailableError as error:
            # They stay in flight; the sweep looks at them.
            log.warning("claim.refused_not_judged", ids=len(ids), detail=str(error))
            return
        if all(is_stranger(place, types=types, versions=versions) for place in places):
            on_strangers()
        newer = sum(1 for place in places if place.state is JobState.QUEUED and is_newer(place, versions))
        if newer:
            log.warning("claim.newer_version", pool=self._pool.name, jobs=newer)
        log.info("claim.refused", pool=self._pool.name, **Counter[str](verdict.place for verdict in verdicts))

    async def _places(self, ids: Sequence[str]) -> Sequence[Place]:
        """What their documents say, after those that had to start by now have failed."""
        places = await self._state.places(ids)
        expired = [place.job_id for place in places if place.state is JobState.QUEUED and place.expired]
        if not expired:
            return places
        await self._state.expire(expired)
        if self._announcer is not None:
            await self._announcer.stand(expired)
        return await self._state.places(ids)
