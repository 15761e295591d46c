"""The claim loop of a child: as much as it can run, as soon as it is there, until it is told to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.queue.base import Claim
from headrace.worker.board import Board
from headrace.worker.claim import DEGRADED_PAUSE_SECONDS, Claims, Pool
from headrace.worker.prefetch import Prefetch
from headrace.worker.refused import RefusedIds
from headrace.worker.strangers import ROUNDS

POLL_SECONDS = 1.0
"""Wake-ups are hints; losing all of them costs at most this."""
STILL_SECONDS = 2.0
"""A loop that stood still for so long asks first whether it was taken for dead."""

log = structlog.get_logger(__name__)


class ClaimLoop:
    """The claim loop of one child. On the event loop.

    Args:
        pool: What this child serves.
        claims: Makes one claim.
        prefetch: Says how much to claim.
        refused: Takes what MongoDB refuses, and puts jobs out of the way that this child cannot run.
        board: Sees the loop turn.
        follow_life: Ends this process if it was declared dead. What such a one claims is taken from it again,
            an attempt for nothing.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        claims: Claims,
        prefetch: Prefetch,
        refused: RefusedIds,
        board: Board,
        follow_life: Callable[[], Awaitable[None]],
    ) -> None:
        self._pool = pool
        self._follow_life = follow_life
        self._claims = claims
        self._prefetch = prefetch
        self._refused = refused
        self._board = board
        self._stopping = False
        self._paused = False
        self._among_strangers = False
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """Look again now."""
        self._poked.set()

    def set_paused(self, on: bool) -> None:
        """Leave the pool alone, or go on: what MongoDB says, whatever Redis does (B12)."""
        if on != self._paused:
            self._paused = on
            self._poked.set()
            log.info("claim.paused" if on else "claim.resumed", pool=self._pool.name)

    def stop(self) -> None:
        """Begin no claim after the one under way."""
        self._stopping = True
        self._claims.stop()
        self._poked.set()

    async def run(self) -> None:
        """Claim until stopped. Never cancelled: a claim under way is always resolved."""
        turned = time.monotonic()
        while not self._stopping:
            self._board.beat_claim()
            still, turned = time.monotonic() - turned, time.monotonic()
            self._prefetch.hand_back_stale()
            count = self._prefetch.count()
            pause = POLL_SECONDS
            if count > 0 and not self._paused:
                try:
                    if still > STILL_SECONDS:
                        await self._follow_life()
                        continue
                    if self._among_strangers:
                        await self._put_strangers_away()
                    pause = await self._claim_once(count)
                except StoreUnavailableError as error:
                    log.warning("claim.store_unavailable", detail=str(error))
                except Exception:
                    log.exception("claim.failed")
            if pause > 0:
                await self._wait(self._prefetch.until_stale(pause))
        await self._refused.until_judged()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._poked.wait()
        except TimeoutError:
            pass
        self._poked.clear()

    async def _claim_once(self, count: int) -> float:
        """One claim. Returns how many seconds to wait before the next; 0 = look again at once."""
        claimed = await self._claims.claim(count, free=self._prefetch.free_slots)
        self._prefetch.asked(count, offered=len(claimed.answer.ids), indexed=claimed.indexed)
        if not claimed.answer.ids:
            return pause_after(claimed.answer)
        self._prefetch.admit(claimed.held)
        if claimed.indexed and (refused := claimed.refused):
            self._refused.judge_later(
                refused, token=claimed.token, now_ms=claimed.answer.now_ms, on_strangers=self._meet_strangers
            )
        return 0.0 if claimed.held else DEGRADED_PAUSE_SECONDS

    def _meet_strangers(self) -> None:
        self._among_strangers = True
        self.poke()

    async def _put_strangers_away(self) -> None:
        self._among_strangers = False
        for _ in range(ROUNDS):
            self._board.beat_claim()
            if self._stopping or not await self._refused.put_strangers_away(token=self._claims.new_token()):
                return


def pause_after(claim: Claim) -> float:
    """How many seconds to wait after a claim that found nothing: until the next delayed job is due, at most a poll."""
    if claim.next_due_ms is None:
        return POLL_SECONDS
    return min(POLL_SECONDS, max(0.005, (claim.next_due_ms - claim.now_ms) / 1000))
