"""One run: start, load and faults, heal, quiet, read everything, judge."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import aiohttp

from headrace.contracts.errors import HeadraceError
from headrace.local.ports import LOOPBACK

from . import (  # noqa: F401 -- they register themselves
    acts_clock,
    acts_failpoints,
    acts_links,
    acts_load,
    acts_mongod,
    acts_processes,
    acts_redis,
)
from .calls import Calls
from .checkers.every import check
from .final_state import canaries_of, look_at_arguments, read_effects, read_logs, read_metrics, read_stores
from .history import Run
from .nemesis import Ground, Nemesis
from .outcome import Outcome, commit
from .parts import POOL
from .plan import CALM_S, Plan
from .promises import bounds_for, settings_for
from .recorder import Clock, Recorder
from .redis_copy import ChaosRedis
from .replica_set import ReplicaSet
from .rest import Rest
from .sink import FencedSink
from .stack import Stack
from .watchers import Watchers
from .workload import Sinks, Workload

COMPLETE_S = 8.0
"""How long to wait for the first rebuild; a recovery that does none is for the checkers to see."""
WARM_UP_S = 0.8
"""Of load before the first fault; what processes use is compared with what they use then."""
ACCEPTED_S = 15.0
QUIET_S = 60.0
"""How long everything may take to come to rest after the last fault was healed."""

Script = Callable[[Ground], Awaitable[None]]


async def run_plan(
    plan: Plan,
    *,
    folder: Path,
    replica_set: ReplicaSet,
    settings: Mapping[str, str] | None = None,
    script: Script | None = None,
    quiet_s: float = QUIET_S,
    promises: Mapping[str, float] | None = None,
) -> Outcome:
    """Carry a plan out on a fresh database and a fresh Redis.

    Args:
        plan: What to do.
        folder: Where plan, history and logs go; emptied first.
        replica_set: Shared with other runs, one after the other.
        settings: Further `JOB_*` settings, or other variables, of the services.
        script: What clients do, instead of what the plan's load says.
        quiet_s: How long to wait for rest at the end.
        promises: Settings of the run for its checkers, beside the usual ones.
    """
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plan.save(folder / "plan.json")
    await asyncio.to_thread(replica_set.mend)
    clock = Clock()
    recorder = Recorder(folder / "history.jsonl", clock)
    redis = ChaosRedis()
    await asyncio.to_thread(redis.start)
    stack = Stack(
        folder=folder,
        recorder=recorder,
        redis=redis,
        replica_set=replica_set,
        parts=plan.parts,
        settings=settings_for(plan, settings or {}),
        database=f"chaos-{plan.seed}-{time.time_ns() % 10**9}",
        clocks=any(fault.kind == "clock" for fault in plan.faults),
    )
    single = _Run(plan, stack, recorder, script=script, quiet_s=quiet_s, promises=promises or {})
    try:
        await single.go()
    finally:
        await single.clean_up()
        await asyncio.to_thread(redis.close)
        await asyncio.to_thread(_drop, replica_set, stack.database)
    history = recorder.close(single.described())
    return Outcome(plan, history, check(history), single.failures, single.trouble, time.monotonic() - began, folder)


class _Run:
    """The phases of one run."""

    def __init__(
        self,
        plan: Plan,
        stack: Stack,
        recorder: Recorder,
        *,
        script: Script | None,
        quiet_s: float,
        promises: Mapping[str, float],
    ) -> None:
        self.plan = plan
        self.stack = stack
        self.recorder = recorder
        self.clock = recorder.clock
        self._script = script
        self._quiet_s = quiet_s
        self._promises = promises
        self.failures: dict[str, str] = {}
        self.trouble: str | None = None
        self._sink = FencedSink(recorder)
        self._watchers = Watchers(stack)
        self._healed_at = self._quiet_at = 0.0

    async def go(self) -> None:
        """Everything but the tidying up."""
        for fault in self.plan.faults:
            self.recorder.add("planned", fault)
        await self._sink.start()
        try:
            await self.stack.start()
        except TimeoutError as error:
            self.trouble = f"it did not start: {error}"
            return
        await self._until_complete()
        self._restart_clock()
        await self._watchers.start()
        await self._load_and_faults()
        self._healed_at = self.clock.now()
        await Rest(self.stack, self._watchers).reached(within=self._quiet_s)
        self._quiet_at = self.clock.now()
        self._watchers.weigh()
        await self._watchers.stop()
        await read_metrics(self.stack)
        look_at_arguments(self.stack)
        try:
            await read_stores(self.stack, self._watchers)
        except HeadraceError as error:
            self.trouble = f"the stores cannot be read at the end: {error}"

    async def _until_complete(self) -> None:
        """Begin with a whole index: what is promised then should not be excused by the start."""
        end = time.monotonic() + COMPLETE_S
        while time.monotonic() < end:
            with suppress(HeadraceError):
                if await self._watchers.queue.is_complete(POOL):
                    return
            await asyncio.sleep(0.05)

    def _restart_clock(self) -> None:
        """Plans count from here; nothing with a time was recorded before."""
        fresh = Clock()
        self.clock.zero, self.clock.wall_at_zero = fresh.zero, fresh.wall_at_zero
        for part in self.stack.parts.values():
            part.started = 0.0
        for child in self.stack.children.values():
            child.started = 0.0

    async def _load_and_faults(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, force_close=False)
        async with aiohttp.ClientSession(connector=connector) as session:
            calls = Calls(self.recorder, session)
            ground = Ground(
                calls=calls,
                urls=[f"http://{LOOPBACK}:{link.port}" for link in self.stack.clients.values()],
                sinks=Sinks(self.stack.folder / "effects", self._sink.path, canaries_of(self.stack)[0]),
                stack=self.stack,
                watchers=self._watchers,
            )
            nemesis = Nemesis(ground)
            if self._script is not None:
                await asyncio.gather(self._script(ground), nemesis.run(self.plan.faults))
                self.failures = nemesis.failures
                calls.close()
                return
            workload = Workload(
                seed=self.plan.seed, load=self.plan.load, urls=ground.urls, calls=calls, sinks=ground.sinks
            )
            stop = asyncio.Event()
            working = asyncio.create_task(workload.run(stop))
            await asyncio.sleep(WARM_UP_S)
            self._watchers.weigh()
            await (nemesis.run_in_turn if self.plan.in_turn else nemesis.run)(self.plan.faults)
            healed_at = self.clock.now()
            await asyncio.sleep(max(CALM_S, self.plan.seconds - healed_at))
            await self._until_accepted(healed_at)
            stop.set()
            await working
            self.failures = nemesis.failures
            calls.close()

    async def _until_accepted(self, since: float) -> None:
        """Clients go on until one has succeeded once more: how long that takes is one of the recovery times."""
        deadline = self.clock.now() + ACCEPTED_S
        while self.clock.now() < deadline:
            operations = self.recorder.of("operation")[-200:]
            if any(each.op == "submit" and each.outcome == "ok" and each.invoked > since for each in operations):
                return
            await asyncio.sleep(0.1)

    async def clean_up(self) -> None:
        """Stop everything, and read what only then is whole: effects and logs."""
        await self._watchers.stop()
        await self.stack.stop()
        await self._watchers.close()
        await self._sink.close()
        read_effects(self.stack.folder / "effects", self.recorder)
        read_logs(self.stack)

    def described(self) -> Run:
        """How the run was made."""
        return Run(
            seed=self.plan.seed,
            mode=self.plan.mode,
            commit=commit(),
            wall_at_zero=self.clock.wall_at_zero,
            healed_at=self._healed_at,
            quiet_at=self._quiet_at,
            settings=bounds_for(self.plan, self._promises),
            bounds={POOL: self.plan.load.bound},
            canaries=canaries_of(self.stack)[:1],
        )


def _drop(replica_set: ReplicaSet, database: str) -> None:
    try:
        number = replica_set.wait_for_primary(within=10)
        replica_set.members[number].drop_database(database)
    except Exception as error:  # noqa: BLE001 -- nobody will read it again
        sys.stderr.write(f"the database of the run was not dropped: {error}\n")
