"""Ends attempts in batches: MongoDB first, then Redis.

Dramatiq's threads hand a job in and go on. What a crash leaves: a job whose settlement MongoDB has is over whatever
Redis says, its entry is a ghost that recovery removes; a job whose settlement MongoDB lacks runs again.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.process import tracing
from headrace.runtime.process.failpoints import afp
from headrace.runtime.queue.base import Entry, JobQueue
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import Settled, SettleVerdict
from headrace.worker import outcome, spans
from headrace.worker.announce import ChildAnnouncer
from headrace.worker.board import Board
from headrace.worker.held import Held, HeldJobs, Phase, Stop

BATCH = 500
FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 2.0

log = structlog.get_logger(__name__)


class Settler:
    """The settler of one child. `submit` from any thread; the rest on the event loop."""

    def __init__(
        self,
        *,
        pool: str,
        incarnation: str,
        state: JobStateManager,
        queue: JobQueue,
        held: HeldJobs,
        board: Board,
        loop: asyncio.AbstractEventLoop,
        announcer: ChildAnnouncer | None = None,
    ) -> None:
        self._pool = pool
        self._incarnation = incarnation
        self._state = state
        self._queue = queue
        self._held = held
        self._board = board
        self._loop = loop
        self._announcer = announcer
        self._pending: deque[Held] = deque()
        self._under_way = 0
        self._lock = threading.Lock()
        self._signalled = False
        self._work = asyncio.Event()
        self._stopping = False

    @property
    def backlog(self) -> int:
        """Jobs that have ended and are not confirmed."""
        return len(self._pending) + self._under_way

    def submit(self, held: Held, *, delay_ms: int | None = None) -> None:
        """Take a job that has ended, or one that was never started: it goes back without cost, after a delay if any."""
        if held.phase is Phase.WAITING:
            held.settlement = outcome.released(held.job, delay_ms=delay_ms)
            held.end()
        with self._lock:
            self._pending.append(held)
            signal, self._signalled = not self._signalled, True
        if signal:  # one wake-up for many jobs: a call into the loop costs more than a settlement's share of a batch
            self._loop.call_soon_threadsafe(self._work.set)

    def submit_stopped(self, held: Held) -> None:
        """Take a job that was told to stop before it started."""
        held.settlement = outcome.cancelled(held.job) if held.stop is Stop.CANCEL else None
        held.end()
        self.submit(held)

    def stop(self) -> None:
        """End `run` as soon as nothing is left to settle."""
        self._stopping = True
        self._work.set()

    async def run(self) -> None:
        """Settle until stopped and empty."""
        while True:
            batch = self._take()
            if not batch:
                if self._stopping:
                    return
                await self._work.wait()
                self._work.clear()
                continue
            self._under_way = len(batch)
            try:
                await self._settle(batch)
            except Exception:
                # The loop must go on. What MongoDB has not got is owned and not held: the audit hands it back.
                log.exception("settle.failed", jobs=len(batch))
            finally:
                self._under_way = 0
                for held in batch:
                    self._held.drop(held)

    def _take(self) -> list[Held]:
        with self._lock:
            batch = [self._pending.popleft() for _ in range(min(BATCH, len(self._pending)))]
            if not self._pending:
                self._signalled = False
        return batch

    async def _settle(self, batch: Sequence[Held]) -> None:
        ours = [held for held in batch if held.settlement is not None]
        if ours:
            await afp("worker.before_settle")
            began_ns = tracing.now_ns()
            answers = await self._write(ours)
            if began_ns:
                spans.settled(ours, began_ns)
            await afp("worker.after_settle")
            if self._announcer is not None:
                self._announcer.settled(zip(ours, answers, strict=True))
            await self._index(ours, answers)
            await afp("worker.after_index")
            self._count(answers)
        self._board.count(fenced=len(batch) - len(ours))

    async def _write(self, batch: Sequence[Held]) -> list[Settled | None]:
        """Write until MongoDB has answered. None: this one item cannot be written at all."""
        settlements = [held.settlement for held in batch if held.settlement is not None]
        pause = FIRST_PAUSE_SECONDS
        told = False
        while True:
            try:
                return list(await self._state.settle(settlements, by=self._incarnation))
            except StoreUnavailableError as error:
                # Repeating is safe: what was applied is recognised by its log entry.
                if not told:
                    log.warning("settle.waiting_for_store", jobs=len(settlements), detail=str(error))
                    told = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
            except Exception:
                if len(batch) == 1:
                    # The audit finds it owned and not held, and hands it back.
                    log.exception("settle.impossible", job_id=batch[0].job.id)
                    return [None]
                middle = len(batch) // 2  # one item that cannot be written must not hold up its neighbours
                return [*await self._write(batch[:middle]), *await self._write(batch[middle:])]

    async def _index(self, batch: Sequence[Held], answers: Sequence[Settled | None]) -> None:
        over: list[str] = []
        again: list[Entry] = []
        for held, answer in zip(batch, answers, strict=True):
            if answer is None or answer.verdict is SettleVerdict.FENCED or answer.state is None:
                continue
            if answer.state.is_terminal:
                over.append(held.job.id)
            else:
                due_ms = answer.run_at_ms if held.settlement is not None and held.settlement.delay_ms else 0
                again.append(Entry(held.job.id, answer.score, due_ms=due_ms, token=held.token))
        try:
            if over:
                await self._queue.settle(self._pool, over)
            if again:
                await self._queue.requeue(self._pool, again)
        except StoreUnavailableError as error:
            # Nobody repeats it here: reconcile finds the entry missing or a ghost within seconds.
            log.warning("settle.not_indexed", jobs=len(over) + len(again), detail=str(error))

    def _count(self, answers: Sequence[Settled | None]) -> None:
        fenced = sum(1 for answer in answers if answer is None or answer.verdict is SettleVerdict.FENCED)
        done = sum(1 for answer in answers if answer is not None and answer.state == "completed")
        if fenced:
            log.warning("settle.fenced", jobs=fenced)
        self._board.count(completed=done, failed=len(answers) - done - fenced, fenced=fenced)
