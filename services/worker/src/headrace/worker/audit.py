"""The own-jobs audit: what MongoDB says this child owns, against what it holds.

It closes every hole that a late write can make: a claim applied after its caller gave up belongs to a live worker that
does not know it, and no lease will ever run out on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.states import JobState, Reason
from headrace.runtime.process.failpoints import afp
from headrace.runtime.queue.base import Entry, JobQueue
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import OwnJob, Settlement, SettleVerdict
from headrace.worker.announce import ChildAnnouncer
from headrace.worker.feed import Feed
from headrace.worker.held import Held, HeldJobs, Phase, Stop
from headrace.worker.settler import Settler

AUDIT_SECONDS = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class AuditCounts:
    """What one pass did."""

    released: int = 0
    lost: int = 0
    cancelled: int = 0


class Audit:
    """The audit of one child; remembers the last pass, because only what is seen twice in a row counts."""

    def __init__(
        self,
        *,
        pool: str,
        incarnation: str,
        state: JobStateManager,
        queue: JobQueue,
        held: HeldJobs,
        feed: Feed,
        settler: Settler,
        announcer: ChildAnnouncer | None = None,
    ) -> None:
        self._pool = pool
        self._incarnation = incarnation
        self._state = state
        self._queue = queue
        self._held = held
        self._feed = feed
        self._settler = settler
        self._announcer = announcer
        self._unknown: set[tuple[str, int]] = set()
        self._unlisted: set[tuple[str, int]] = set()

    async def run_once(self, *, final: bool = False) -> AuditCounts:
        """One pass.

        Args:
            final: Before the child ends: release at first sight, nothing will be claimed any more.

        Raises:
            StoreUnavailableError: MongoDB does not answer; nothing was concluded.
        """
        before = {(held.job.id, held.job.attempt) for held in self._held.all() if held.phase is not Phase.ENDED}
        owned = await self._state.owned(self._incarnation)
        unknown = [own for own in owned if self._is_unknown(own)]
        again = [own for own in unknown if final or (own.job_id, own.attempt) in self._unknown]
        self._unknown = {(own.job_id, own.attempt) for own in unknown}
        released = await self._release(again) if again else 0
        lost = self._stop_unlisted(before, {(own.job_id, own.attempt) for own in owned})
        cancelled = sum(1 for own in owned if own.cancel_requested and self._cancel(own))
        counts = AuditCounts(released, lost, cancelled)
        if released or lost or cancelled:
            log.info("audit.acted", released=released, lost=lost, cancelled=cancelled)
        return counts

    def _is_unknown(self, own: OwnJob) -> bool:
        held = self._held.get(own.job_id)
        if held is not None and held.job.attempt == own.attempt:
            return False
        return own.claim_token not in self._held.open_tokens

    async def _release(self, unknown: list[OwnJob]) -> int:
        settlements = [Settlement(own.job_id, own.attempt, JobState.QUEUED, Reason.RELEASED) for own in unknown]
        await afp("worker.before_release")
        answers = await self._state.settle(settlements, by=self._incarnation)
        await afp("worker.after_release")
        entries = [
            Entry(own.job_id, own.score, token=own.claim_token or "")
            for own, answer in zip(unknown, answers, strict=True)
            if answer.verdict is SettleVerdict.APPLIED
        ]
        over = [
            own.job_id
            for own, answer in zip(unknown, answers, strict=True)
            if answer.verdict is SettleVerdict.CANCELLED
        ]
        if self._announcer is not None:
            await self._announcer.stand([*(entry.id for entry in entries), *over])
        try:
            if entries:
                await self._queue.requeue(self._pool, entries)
            if over:
                await self._queue.settle(self._pool, over)
        except StoreUnavailableError as error:
            # Nobody repeats it: the sweep and reconcile find them. The rest of the pass does not need Redis.
            log.warning("audit.not_indexed", jobs=len(entries) + len(over), detail=str(error))
        return len(entries) + len(over)

    def _stop_unlisted(self, before: set[tuple[str, int]], listed: set[tuple[str, int]]) -> int:
        # Held before the read began and not in its answer: the attempt was taken from us.
        unlisted = before - listed
        lost = 0
        for job_id, attempt in unlisted & self._unlisted:
            held = self._held.get(job_id)
            if held is None or held.job.attempt != attempt or held.phase is Phase.ENDED:
                continue
            if held.stop is None:
                log.warning("audit.lost", job_id=job_id, attempt=attempt)
                self._stop(held, Stop.LOST)
                lost += 1
        self._unlisted = unlisted
        return lost

    def _cancel(self, own: OwnJob) -> bool:
        held = self._held.get(own.job_id)
        if held is None or held.job.attempt != own.attempt or held.stop is not None or held.phase is Phase.ENDED:
            return False
        self._stop(held, Stop.CANCEL)
        return True

    def _stop(self, held: Held, reason: Stop) -> None:
        runs = held.ask_to_stop(reason)
        if not runs and self._feed.discard(held):
            # It never started: end it here. (Between feed and thread it finds the word to stop by itself.)
            self._settler.submit_stopped(held)
