"""Claims jobs for this child: pop from Redis, claim in MongoDB, judge what was refused.

What a crash leaves: after the pop the ids are in flight and still `queued`, the sweep returns them; after the claim the
jobs are `processing` under this incarnation, and recovery returns them when it is marked dead.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.runtime.process import tracing
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.process.failpoints import afp
from headrace.runtime.process.ids import new_token
from headrace.runtime.queue.base import Claim, JobQueue
from headrace.runtime.store.state_manager import JobStateManager
from headrace.worker import spans
from headrace.worker.announce import ChildAnnouncer
from headrace.worker.board import Board
from headrace.worker.budget import RunTimes, claim_budget, ends_soon, stale_after_seconds
from headrace.worker.feed import Feed
from headrace.worker.held import Held, HeldJobs, Phase
from headrace.worker.judge import is_newer, judge
from headrace.worker.settler import Settler
from headrace.worker.strangers import ROUNDS, is_stranger, put_away
from headrace.worker.suspects import PATIENCE_SECONDS, is_suspect, pause_ms, split

POLL_SECONDS = 1.0
"""Wake-ups are hints; losing all of them costs at most this."""
RESENDS = 2
DEGRADED_PAUSE_SECONDS = 0.2
MAX_CLAIM = 500

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Pool:
    """What this child serves."""

    name: str
    types: tuple[str, ...]
    slots: int
    horizon_seconds: float
    versions: Mapping[str, int] = field(default_factory=dict)
    """The newest payload version known of each type."""


class ClaimLoop:
    """The claim loop of one child. Runs on the event loop; `poke` may be called from any thread there is."""

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
        feed: Feed,
        run_times: RunTimes,
        settler: Settler,
        board: Board,
        announcer: ChildAnnouncer | None = None,
    ) -> None:
        self._pool = pool
        self._incarnation = incarnation
        self._queue = queue
        self._direct = direct
        self._breaker = breaker
        self._state = state
        self._held = held
        self._feed = feed
        self._run_times = run_times
        self._settler = settler
        self._board = board
        self._announcer = announcer
        self._stopping = False
        self._paused = False
        self._poked = asyncio.Event()
        self._judging: set[asyncio.Task[None]] = set()
        self._direct_at = 0.0
        self._handed_back_at: int | None = None
        """How many runs were known at the last hand-back."""
        self._among_suspects = False
        self._among_strangers = False
        self._is_backlog = False
        """Whether the last claim got all that it asked for: only then more is asked for before a slot is free."""
        self._look_again_in = math.inf

    def poke(self) -> None:
        """Look again now. Call on the event loop."""
        self._poked.set()

    def set_paused(self, on: bool) -> None:
        """Leave the pool alone, or go on: what MongoDB says, whatever Redis does (B12). Call on the event loop."""
        if on != self._paused:
            self._paused = on
            self._poked.set()
            log.info("claim.paused" if on else "claim.resumed", pool=self._pool.name)

    def stop(self) -> None:
        """Begin no claim after the one under way."""
        self._stopping = True
        self._poked.set()

    async def run(self) -> None:
        """Claim until stopped. Never cancelled: a claim under way is always resolved."""
        while not self._stopping:
            self._board.beat_claim()
            self._hand_back_stale()
            count = self._budget()
            pause = POLL_SECONDS
            if count > 0 and not self._paused:
                try:
                    if self._among_strangers:
                        await self._put_strangers_away()
                    pause = await self._claim_once(count)
                except StoreUnavailableError as error:
                    log.warning("claim.store_unavailable", detail=str(error))
                except Exception:
                    log.exception("claim.failed")
            if pause > 0:
                await self._wait(self._until_stale(pause))
        if self._judging:
            await asyncio.gather(*self._judging, return_exceptions=True)

    def _budget(self) -> int:
        # After a hand-back every thread is behind a long job: claiming ahead again before one has ended would only
        # take the same jobs from others once more.
        horizon = 0.0 if self._run_times.total == self._handed_back_at else self._pool.horizon_seconds
        p95 = self._run_times.p95()
        ending, self._look_again_in = 0, math.inf
        if self._is_backlog and p95 is not None and p95 > horizon:
            now = time.monotonic()
            # What waits may begin at any moment: as if it did now, so that its end is looked for in time.
            started = [held.started_at or now for held in self._held.all() if held.phase is not Phase.ENDED]
            ending, self._look_again_in = ends_soon(started, now=now, horizon_seconds=horizon, p95_seconds=p95)
        count = claim_budget(
            slots=self._feed.slots,
            running=self._feed.running,
            waiting=self._feed.waiting,
            unsettled=self._settler.backlog,
            horizon_seconds=horizon,
            p95_seconds=p95,
            ending=ending,
        )
        if self._feed.is_reserved:
            return 0
        if self._among_suspects:
            count = min(count, 1)  # more of them would only go back at once, each time a whole claim
        left = self._feed.left
        return min(count, MAX_CLAIM if left is None else min(left, MAX_CLAIM))

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._poked.wait()
        except TimeoutError:
            pass
        self._poked.clear()

    async def _claim_once(self, count: int) -> float:
        """One claim. Returns how many seconds to wait before the next; 0 = look again at once."""
        token = f"{self._incarnation}.{new_token()}"  # names its holder, so that a dead one's ids can be swept at once
        self._held.open_tokens.add(token)  # before the pop: the audit must not release what is being claimed
        began_ns = tracing.now_ns()
        try:
            await afp("worker.before_pop")
            claim, indexed = await self._pop(token, count)
            self._is_backlog = indexed and len(claim.ids) >= count
            if not claim.ids:
                return _pause(claim)
            await afp("worker.after_pop")
            jobs = await self._take(claim.ids, token)
            await afp("worker.after_claim")
        finally:
            self._held.open_tokens.discard(token)
        if began_ns:
            spans.claimed(jobs, began_ns)
        held = [Held(job, token) for job in jobs]
        self._held.add(held)
        self._admit(held)
        refused = set(claim.ids).difference(job.id for job in jobs)
        if refused and indexed:
            self._judge_later(token, sorted(refused), claim.now_ms)
        return 0.0 if held else DEGRADED_PAUSE_SECONDS

    async def _pop(self, token: str, count: int) -> tuple[Claim, bool]:
        """Ids to claim, and whether they come from Redis. The same token is re-sent, so a lost reply costs nothing."""
        for _ in range(RESENDS + 1):
            try:
                claim = await self._breaker.call(lambda: self._queue.claim(self._pool.name, token=token, count=count))
            except StoreUnavailableError:
                if self._breaker.snapshot().retry_in_seconds > 0:
                    break
                await asyncio.sleep(0.02)
            else:
                return claim, True
        # Straight from the truth, slower: no horizon, and at most five times a second.
        wait = self._direct_at + DEGRADED_PAUSE_SECONDS - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        self._direct_at = time.monotonic()
        free = max(1, self._feed.slots - self._feed.running - self._feed.waiting)
        return await self._direct.claim(self._pool.name, token=token, count=min(count, free)), False

    async def _take(self, ids: Sequence[str], token: str) -> list[Job]:
        """Claim in MongoDB. An unknown outcome is resolved by the token before anything is put back."""
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

    async def _put_strangers_away(self) -> None:
        self._among_strangers = False
        for _ in range(ROUNDS):
            token = f"{self._incarnation}.{new_token()}"
            self._board.beat_claim()
            if self._stopping or not await put_away(
                self._pool.name,
                token=token,
                queue=self._queue,
                state=self._state,
                types=self._pool.types,
                versions=self._pool.versions,
            ):
                return

    # -- refused ids -------------------------------------------------------------------------------------------

    def _judge_later(self, token: str, ids: list[str], now_ms: int) -> None:
        task = asyncio.create_task(self._judge(token, ids, now_ms))
        self._judging.add(task)
        task.add_done_callback(self._judging.discard)

    async def _judge(self, token: str, ids: list[str], now_ms: int) -> None:
        try:
            places = await self._state.places(ids)
            expired = [place.job_id for place in places if place.state is JobState.QUEUED and place.expired]
            if expired:
                await self._state.expire(expired)
                if self._announcer is not None:
                    await self._announcer.stand(expired)
                places = await self._state.places(ids)
            verdicts = [
                judge(place, types=self._pool.types, versions=self._pool.versions, now_ms=now_ms) for place in places
            ]
            await self._queue.putback(self._pool.name, token=token, verdicts=verdicts)
        except StoreUnavailableError as error:
            # They stay in flight; the sweep looks at them.
            log.warning("claim.refused_not_judged", ids=len(ids), detail=str(error))
            return
        counts: dict[str, int] = {}
        for verdict in verdicts:
            counts[verdict.place] = counts.get(verdict.place, 0) + 1
        if all(is_stranger(place, types=self._pool.types, versions=self._pool.versions) for place in places):
            self._among_strangers = True
            self.poke()
        newer = sum(1 for place in places if place.state is JobState.QUEUED and is_newer(place, self._pool.versions))
        if newer:
            log.warning("claim.newer_version", pool=self._pool.name, jobs=newer)
        log.info("claim.refused", pool=self._pool.name, **counts)

    def _until_stale(self, seconds: float) -> float:
        """At most `seconds`, and no longer than until the oldest waiting job must go back."""
        seconds = min(seconds, max(0.001, self._look_again_in))
        waited = self._feed.oldest_seconds()
        if waited is None:
            return seconds
        return min(seconds, max(0.01, stale_after_seconds(self._pool.horizon_seconds) - waited))

    def _admit(self, held: list[Held]) -> None:
        """Let claimed jobs wait for threads; what may not wait beside a suspect goes back."""
        kept, back = split(held)
        self._among_suspects = bool(kept) and is_suspect(kept[-1].job)
        self._feed.put(kept)
        if back:
            log.info("claim.suspect", job_id=kept[-1].job.id, crashes=kept[-1].job.crashes, handed_back=len(back))
        for other in back:
            self._settler.submit(other)

    def _hand_back_stale(self) -> None:
        stale = self._feed.withdraw(
            older_than_seconds=stale_after_seconds(self._pool.horizon_seconds), suspects_seconds=PATIENCE_SECONDS
        )
        if stale:
            self._handed_back_at = self._run_times.total
            log.info("claim.handed_back", jobs=len(stale))
        for held in stale:
            self._settler.submit(held, delay_ms=pause_ms(held.job) if is_suspect(held.job) else None)


def _pause(claim: Claim) -> float:
    if claim.next_due_ms is None:
        return POLL_SECONDS
    return min(POLL_SECONDS, max(0.005, (claim.next_due_ms - claim.now_ms) / 1000))
