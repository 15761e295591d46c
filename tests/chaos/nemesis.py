"""Does what a plan asks for, notes what it really did, and undoes it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .calls import Calls
from .history import FiredFault, PlannedFault
from .stack import Stack
from .watchers import Watchers
from .workload import Sinks


class DidNotFire(Exception):  # noqa: N818 -- what it says
    """A fault could not be brought about, or touched nothing."""


@dataclass
class Hit:
    """What a fault did so far."""

    pids: tuple[int, ...] = ()
    owners: tuple[str, ...] = ()
    detail: str = ""
    heal: Callable[[], Awaitable[str | None]] | None = None
    """Undoes it; may say more about it, or raise `DidNotFire`: what it was to touch was not touched."""
    watch_return: str | None = None
    """The service whose new process ends the fault."""
    at: float | None = None
    """When it took hold, where that is not the moment in which the act returned."""


@dataclass(frozen=True)
class Ground:
    """What a fault, or a script instead of the seeded clients, may touch and use."""

    stack: Stack
    watchers: Watchers
    calls: Calls
    urls: list[str]
    """Of the schedulers, each behind its link."""
    sinks: Sinks


Act = Callable[[Ground, PlannedFault], Awaitable[Hit]]
ACTS: dict[tuple[str, str], Act] = {}
"""(kind, target) → how; a target of `link` stands for all links, and one of `*` for whatever is left."""


def act(kind: str, *targets: str) -> Callable[[Act], Act]:
    """Say what a coroutine function brings about."""

    def register(function: Act) -> Act:
        for target in targets:
            ACTS[kind, target] = function
        return function

    return register


def act_of(fault: PlannedFault) -> Act:
    """How a planned fault is done.

    Raises:
        KeyError: Nobody knows how.
    """
    kind = fault.kind.split(":", 1)[0]
    target = fault.target.split(":", 1)[0] if fault.target.startswith("link:") else fault.target
    for key in ((kind, target), (kind, "*")):
        if key in ACTS:
            return ACTS[key]
    raise KeyError(f"no way to bring about {fault.kind} of {fault.target}")


@dataclass
class Nemesis:
    """Carries out the faults of a plan."""

    ground: Ground
    failures: dict[str, str] = field(default_factory=dict)
    """Fault → why it did not fire."""
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, faults: tuple[PlannedFault, ...]) -> None:
        """All of them, each at its time; returns when every one is over and healed."""
        for fault in faults:
            task = asyncio.create_task(self._one(fault))
            self._under_way.add(task)
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def run_in_turn(self, faults: tuple[PlannedFault, ...]) -> None:
        """Those of a lane one after the other, each when the one before it is over; the lanes beside each other."""
        lanes: dict[str, list[PlannedFault]] = {}
        for fault in faults:
            lanes.setdefault(fault.details.get("lane", ""), []).append(fault)

        async def follow(lane: list[PlannedFault]) -> None:
            for fault in lane:
                await self._one(fault)

        await asyncio.gather(*(follow(lane) for lane in lanes.values()))

    async def _one(self, fault: PlannedFault) -> None:
        clock = self.ground.stack.clock
        await asyncio.sleep(max(0.0, fault.at - clock.now()))
        try:
            hit = await act_of(fault)(self.ground, fault)
            done = clock.now()
            if fault.until is not None:
                await asyncio.sleep(max(0.0, fault.until - clock.now()))
            more = await hit.heal() if hit.heal is not None else None
            ended = None if fault.kind == "lose" else clock.now()
            if hit.watch_return is not None:
                await self._until_back(hit.watch_return)
                ended = clock.now()
            at = done if hit.at is None else hit.at
            detail = " ".join(filter(None, (hit.detail, more)))
            self.ground.stack.recorder.add(
                "fired", FiredFault(fault.id, at, fault.kind, fault.target, ended, hit.owners, hit.pids, detail)
            )
        except DidNotFire as reason:
            self.failures[fault.id] = str(reason)
        except Exception:  # noqa: BLE001 -- a fault that cannot be done is the run's failure, not the end of the run
            self.failures[fault.id] = traceback.format_exc(limit=4)

    async def _until_back(self, name: str) -> None:
        part = self.ground.stack.parts[name]
        deadline = self.ground.stack.clock.now() + 30
        while part.wanted and not await self.ground.stack.is_ready(part):
            if self.ground.stack.clock.now() > deadline:
                return  # whether it should be back is for the checkers to say
            await asyncio.sleep(0.1)
