"""One claim: ids are popped from Redis, or taken from MongoDB while Redis is away, and claimed in MongoDB.

What a crash leaves: after the pop the ids are in flight and still `queued`, the sweep returns them; after the claim the
jobs are `processing` under this incarnation, and recovery returns them when it is marked dead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.job import Job
from headrace.runtime.process import tracing
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.process.failpoints import afp
from headrace.runtime.process.ids import new_token
from headrace.runtime.queue.base import Claim, JobQueue
from headrace.runtime.store.state_manager import JobStateManager
from headrace.worker import spans
from headrace.worker.board import Board
from headrace.worker.held import Held, HeldJobs

RESENDS = 2
DEGRADED_PAUSE_SECONDS = 0.2
"""Between two claims that come from MongoDB alone."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Pool:
    """What this child serves."""

    name: str
    types: tuple[str, ...]
    versions: Mapping[str, int] = field(default_factory=dict)
    """The newest payload version known of each type."""


@dataclass(frozen=True)
class Claimed:
    """What one claim brought.

    Attributes:
        answer: The ids that were offered.
        token: Under which they were.
        indexed: Whether they came from Redis.
        held: The jobs that MongoDB gave; they are held.
    """

    answer: Claim
    token: str
    indexed: bool
    held: Sequence[Held] = ()

    @property
    def refused(self) -> list[str]:
        """What MongoDB did not give."""
        return sorted(set(self.answer.ids).difference(held.job.id for held in self.held))


class Claims:
    """Claims jobs for one incarnation. On the event loop, one claim at a time."""

    def __init__(
        self,
        *,
        pool: Pool,
        incarnation: str,
        queue: JobQueue,
        direct: JobQueue,
        breaker: Breaker,
        state: JobStateManager,
        held: HeldJobs,
        board: Board,
    ) -> None:
        self._pool = pool
        self._incarnation = incarnation
        self._queue = queue
        self._direct = direct
        self._breaker = breaker
        self._state = state
        self._held = held
        self._board = board
        self._direct_at = 0.0
        self._stopping = False

    def new_token(self) -> str:
        """A fresh claim token. It names its holder, so that a dead one's ids can be swept at once."""
        return f"{self._incarnation}.{new_token()}"

    def stop(self) -> None:
        """Give up a claim whose outcome cannot be found out; recovery finds it."""
        self._stopping = True

    async def claim(self, count: int, *, free: Callable[[], int]) -> Claimed:
        """Claim jobs and hold them. Never cancelled: a claim under way is always resolved.

        Args:
            count: How many at most.
            free: Says how many slots are free. While Redis is away no more are claimed than these, or one.

        Raises:
            StoreUnavailableError: Neither store offers ids, or it is not known what MongoDB gave and `stop` was called.
        """
        token = self.new_token()
        self._held.open_tokens.add(token)  # before the pop: the audit must not release what is being claimed
        began_ns = tracing.now_ns()
        try:
            await afp("worker.before_pop")
            answer, indexed = await self._pop(token, count, free)
            if not answer.ids:
                return Claimed(answer, token, indexed)
            await afp("worker.after_pop")
            jobs = await self._take(answer.ids, token)
            await afp("worker.after_claim")
            if began_ns:
                spans.claimed(jobs, began_ns)
            held = [Held(job, token) for job in jobs]
            self._held.add(held)
            return Claimed(answer, token, indexed, held)
        finally:
            self._held.open_tokens.discard(token)

    async def _pop(self, token: str, count: int, free: Callable[[], int]) -> tuple[Claim, bool]:
        """Ids to claim, and whether they come from Redis. The same token is re-sent, so a lost reply costs nothing."""
        for _ in range(RESENDS + 1):
            try:
                claim = await self._breaker.call(lambda: self._queue.claim(self._pool.name, token=token, count=count))
            except StoreUnavailableError:
                if self._breaker.snapshot().retry_in_seconds > 0:
                    break
                await asyncio.sleep(0.02)
                self._board.beat_claim()
            else:
                return claim, True
        # Straight from the truth, slower: no horizon, and at most five times a second.
        wait = self._direct_at + DEGRADED_PAUSE_SECONDS - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        self._direct_at = time.monotonic()
        self._board.beat_claim()
        return await self._direct.claim(self._pool.name, token=token, count=min(count, max(1, free()))), False

    async def _take(self, ids: Sequence[str], token: str) -> list[Job]:
        """Claim in MongoDB. An unknown outcome is resolved by the token before anything is put back."""
        self._board.beat_claim()  # one claim may wait for both stores, longer than a loop may stand still
        try:
            return await self._state.claim(
                ids, token=token, owner=self._incarnation, types=self._pool.types, versions=self._pool.versions
            )
        except StoreUnavailableError as error:
            log.warning("claim.unresolved", detail=str(error), ids=len(ids))
        pause = 0.1
        while True:
            await asyncio.sleep(pause)
            self._board.beat_claim()
            try:
                return await self._state.claimed(token=token, owner=self._incarnation)
            except StoreUnavailableError:
                if self._stopping:
                    raise
                pause = min(pause * 2, 2.0)
