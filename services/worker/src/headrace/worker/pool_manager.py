"""`WorkerPoolManager`: keeps as many children running as the pools' slots need, and says in MongoDB when one has died.

One child's death never touches another. A replacement is a new incarnation, started after a back-off that grows while
children of that pool die young.

Slots move without a process being started or ended: a child is *allowed* some of its slots, and may be allowed fewer
or more at any time. What it *holds* is what it was allowed, or still more while jobs run that began before. The held
slots of all children together never exceed `JOB_MAX_WORKERS`: a pool grows by what others have really given back. A
child that is not needed any more is allowed none, and told to end when its last job is over.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping

import structlog

from headrace.runtime.process.ids import new_incarnation
from headrace.runtime.store.incarnations import Incarnations
from headrace.worker.child_process import ChildProcess, Ending
from headrace.worker.child_records import ChildRecords
from headrace.worker.pools import PoolSpec
from headrace.worker.restarts import Restarts
from headrace.worker.spread import Seat, spread_slots

LINGER_SECONDS = 2.0
"""How long a child without slots and jobs stays, in case it is needed again."""
BOOTING_AT_ONCE = max(2, os.cpu_count() or 1)
"""More starts at the same time would only make each of them later."""

log = structlog.get_logger(__name__)


class WorkerPoolManager:
    """The children of one worker service.

    Args:
        specs: The pools.
        max_workers: Slots of all children together, at any moment.
        service: The name of this worker service, unique per process start.
        incarnations: Where children are registered.
        version: Of the worker.
        lease_seconds: How long a child counts as alive without renewal.
        grace_seconds: How long a child may take to finish its jobs when told to end.
        versions: The newest payload version known of each type.
    """

    def __init__(
        self,
        specs: Mapping[str, PoolSpec],
        *,
        max_workers: int,
        service: str,
        incarnations: Incarnations,
        version: str,
        lease_seconds: float,
        grace_seconds: float,
        versions: Mapping[str, int] | None = None,
    ) -> None:
        self.specs = dict(specs)
        self.targets = dict.fromkeys(specs, 0)
        """How many slots each pool is to have."""
        self.counters = [0, 0, 0]
        """Attempts settled as completed, failed, fenced by children that have ended."""
        self._max_workers = max_workers
        self._grace_seconds = grace_seconds
        self._children: dict[str, ChildProcess] = {}
        self._lives: set[asyncio.Task[None]] = set()
        """One for each child, from before its start until it is written off."""
        self._starting = dict.fromkeys(specs, 0)
        self._restarts = {pool: Restarts() for pool in specs}
        self._ending = asyncio.Event()
        self._records = ChildRecords(
            incarnations,
            service=service,
            version=version,
            lease_seconds=lease_seconds,
            ending=self._ending,
            versions=versions or {},
        )

    def children(self, pool: str | None = None) -> list[ChildProcess]:
        """The running children, of one pool or of all."""
        return [child for child in self._children.values() if pool is None or child.plan.pool == pool]

    @property
    def ending(self) -> bool:
        """Whether the children have been told to end."""
        return self._ending.is_set()

    @property
    def held(self) -> int:
        """Slots that are in use or may be used now."""
        return sum(child.held for child in self.children())

    def is_ready(self) -> bool:
        """Whether every pool that is to have slots claims; one that waits for a slot of others counts as well.

        A child whose loops have not turned for a while does not count: it lives, and nothing progresses.
        """
        return all(
            target == 0 or any(child.board.ready and not child.silent for child in self._usable(pool))
            for pool, target in self.targets.items()
        )

    def resize(self, targets: Mapping[str, int]) -> None:
        """Give the pools these slots from the next pass on, as soon as others have given them back."""
        changed = {pool: slots for pool, slots in targets.items() if slots != self.targets[pool]}
        if changed:
            log.info("pools.resized", slots=changed, before={pool: self.targets[pool] for pool in changed})
            self.targets.update(changed)

    # -- one pass ----------------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Move slots, start children that are missing, end those that are not needed. Quick; starts run beside it."""
        if self._ending.is_set():
            return
        for pool in self.specs:
            self._recruit(pool)
        # First take, then give: what was free before is given at once, what is taken now when it has been given back.
        self._allow(raising=False)
        self._allow(raising=True)
        self._end_the_idle()

    def _usable(self, pool: str) -> list[ChildProcess]:
        """Children that may have slots, the oldest first."""
        return [child for child in self.children(pool) if not (child.ended.done() or child.asked or child.killed)]

    def _recruit(self, pool: str) -> None:
        usable = self._usable(pool)
        for child in usable:
            if child.board.spent and child.worn is None:
                child.worn = "jobs"
        needed = -(-self.targets[pool] // self.specs[pool].slots_per_process)
        missing = needed - sum(child.worn is None for child in usable) - self._starting[pool]
        booting = sum(self._starting.values()) + sum(not child.board.ready for child in self.children())
        for _ in range(min(self._restarts[pool].may_start(time.monotonic(), missing), BOOTING_AT_ONCE - booting)):
            self._starting[pool] += 1
            life = asyncio.create_task(self._live(pool))
            self._lives.add(life)
            life.add_done_callback(self._lived)

    def _lived(self, life: asyncio.Task[None]) -> None:
        self._lives.discard(life)
        if not life.cancelled() and (error := life.exception()) is not None:
            # The next pass finds a child missing and starts another.
            log.error("child.life_failed", error=type(error).__name__, exc_info=error)

    def _allow(self, *, raising: bool) -> None:
        free = self._max_workers - self.held
        for pool, target in self.targets.items():
            usable = self._usable(pool)
            seats = [
                Seat(0 if child.board.spent else child.plan.slots, child.board.ready, child.worn is not None)
                for child in usable
            ]
            for child, wish in zip(usable, spread_slots(target, seats), strict=True):
                allowed, held = child.board.allowed, child.held
                if raising and wish > allowed:
                    slots = min(wish, held + max(0, free))
                    free -= max(0, slots - held)
                    child.allow(max(slots, allowed))
                elif not raising and wish < allowed:
                    child.allow(wish)

    def _end_the_idle(self) -> None:
        now = time.monotonic()
        for child in self.children():
            if child.asked or not child.board.ready or child.held or child.board.running():
                child.idle_since = None
                continue
            if child.idle_since is None:
                child.idle_since = now
            if child.worn or now - child.idle_since >= LINGER_SECONDS:
                log.info("child.not_needed", incarnation=child.incarnation, pool=child.plan.pool, worn=child.worn)
                child.ask_to_end()

    # -- the life of a child -----------------------------------------------------------------------------------

    async def _live(self, pool: str) -> None:
        try:
            child = await self._start_child(pool)
        finally:
            self._starting[pool] -= 1
        if child is None:
            return
        if self._ending.is_set():
            child.ask_to_end()
        self.reconcile()
        await asyncio.wait({child.ended})  # not itself: cancelling this life must not cancel what others wait for
        ending = child.ended.result()
        if ending.record.kind != "graceful":
            now = time.monotonic()
            self._restarts[pool].note_death(now, age_seconds=now - child.began, was_ready=child.board.ready)
        await self._bury(child, ending)
        self.reconcile()

    async def _start_child(self, pool: str) -> ChildProcess | None:
        incarnation, spec = new_incarnation(), self.specs[pool]
        plan = spec.plan()
        if not await self._records.register(incarnation, plan, slots=min(self.targets[pool], plan.slots)):
            return None
        try:
            child = ChildProcess.spawn(incarnation, plan, grace_seconds=self._grace_seconds, allowed=0)
        except OSError as error:  # no room for its files, or for one more process
            log.warning("child.not_started", incarnation=incarnation, pool=pool, error=str(error))
            self._restarts[pool].note_death(time.monotonic(), age_seconds=0.0, was_ready=False)
            await self._records.write_off_unborn(incarnation)
            return None
        self._children[incarnation] = child
        log.info("child.started", incarnation=incarnation, pool=pool, pid=child.pid)
        return child

    async def _bury(self, child: ChildProcess, ending: Ending) -> None:
        self._children.pop(child.incarnation, None)
        counted = child.board.counters()
        self.counters = [total + more for total, more in zip(self.counters, counted, strict=True)]
        child.board.close()
        await self._records.write_off(child, ending)

    # -- the end -----------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Tell every child to end and wait until all are gone and written off."""
        self._ending.set()
        for child in self.children():
            child.ask_to_end()
        if self._lives:
            # Not gather: when the grace is over this wait is cancelled, and the lives must go on to the last word.
            await asyncio.wait(self._lives)

    async def end(self, *, within: float) -> None:
        """End what is left: children that drain may finish that within the time, then they are killed."""
        if self._ending.is_set() and self._lives:
            await asyncio.wait(self._lives, timeout=within)
        self._ending.set()
        for child in self.children():
            child.kill()
        lives = list(self._lives)
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        for child in self.children():
            await asyncio.wait({child.ended}, timeout=2)
            child.scratch.remove()  # here as well: the thread that does it ends with this process
