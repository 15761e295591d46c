"""How many jobs a child claims now, and which of them go back because they would wait here for too long (B4)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import structlog

from headrace.worker.budget import RunTimes, claim_budget, ends_soon, stale_after_seconds
from headrace.worker.feed import Feed
from headrace.worker.held import Held, HeldJobs, Phase
from headrace.worker.settler import Settler
from headrace.worker.suspects import PATIENCE_SECONDS, is_suspect, pause_ms, split

MAX_CLAIM = 500

log = structlog.get_logger(__name__)


class Prefetch:
    """Between the claims and the threads of one child. On the event loop.

    What went back is not claimed ahead again at once: a child whose jobs run longer than it believed would take the
    same jobs again and again, and each time keep them from others. So after a hand-back of n jobs it claims one for
    each free slot until n jobs have ended here.
    """

    def __init__(
        self, *, horizon_seconds: float, feed: Feed, held: HeldJobs, run_times: RunTimes, settler: Settler
    ) -> None:
        self._horizon_seconds = horizon_seconds
        self._feed = feed
        self._held = held
        self._run_times = run_times
        self._settler = settler
        self._not_ahead_before = 0
        """So many runs must be known before anything is claimed ahead."""
        self._among_suspects = False
        self._is_backlog = False
        """Whether the last claim got all that it asked for: only then more is asked for before a slot is free."""
        self._look_again_in = math.inf

    def free_slots(self) -> int:
        """Slots that nothing runs in and nothing waits for."""
        return self._feed.slots - self._feed.running - self._feed.waiting

    def count(self) -> int:
        """How many ids to ask for now."""
        horizon = self._horizon_seconds if self._run_times.total >= self._not_ahead_before else 0.0
        p95 = self._run_times.p95()
        ending, blocked, self._look_again_in = 0, 0, math.inf
        if p95 is None or horizon <= 0:
            pass  # nothing is claimed ahead
        elif p95 <= horizon:
            blocked = self._feed.running_longer_than(horizon)
        elif self._is_backlog:
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
            blocked=blocked,
        )
        if self._feed.is_reserved:
            return 0
        if self._among_suspects:
            count = min(count, 1)  # more of them would only go back at once, each time a whole claim
        left = self._feed.left
        return min(count, MAX_CLAIM if left is None else min(left, MAX_CLAIM))

    def asked(self, count: int, *, offered: int, indexed: bool) -> None:
        """Learn from a claim: how many ids were asked for, how many were offered, and whether by Redis."""
        self._is_backlog = indexed and offered >= count

    def admit(self, held: Sequence[Held]) -> None:
        """Let claimed jobs wait for threads; what may not wait beside a suspect goes back."""
        kept, back = split(held)
        self._among_suspects = bool(kept) and is_suspect(kept[-1].job)
        self._feed.put(kept)
        if back:
            log.info("claim.suspect", job_id=kept[-1].job.id, crashes=kept[-1].job.crashes, handed_back=len(back))
        for other in back:
            self._settler.submit(other)

    def hand_back_stale(self) -> None:
        """Give back what has waited for too long."""
        stale = self._feed.withdraw(
            older_than_seconds=stale_after_seconds(self._horizon_seconds), suspects_seconds=PATIENCE_SECONDS
        )
        if not stale:
            return
        log.info("claim.handed_back", jobs=len(stale))
        self._not_ahead_before = self._run_times.total + len(stale)
        for held in stale:
            self._settler.submit(held, delay_ms=pause_ms(held.job) if is_suspect(held.job) else None)

    def until_stale(self, seconds: float) -> float:
        """At most `seconds`, and no longer than until the oldest waiting job must go back or a slot is nearly free."""
        seconds = min(seconds, max(0.001, self._look_again_in))
        waited = self._feed.oldest_seconds()
        if waited is None:
            return seconds
        return min(seconds, max(0.01, stale_after_seconds(self._horizon_seconds) - waited))
