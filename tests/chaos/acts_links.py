"""Faults of the network between two processes, one direction or both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .history import PlannedFault
from .nemesis import DidNotFire, Ground, Hit, act
from .proxy import Disturbance, Link

HOLD_S = 25.0
"""How much longer a fault stays when nothing has come its way yet: what it waits for may be down itself."""
LOOK_S = 0.1


def victim(ground: Ground, fault: PlannedFault) -> str:
    """`link:worker>redis` with number 1: worker-1, or if that is lost for good another worker."""
    source, _, target = fault.target.removeprefix("link:").partition(">")
    role = target if source == "client" else source
    wanted = [part.name for part in ground.stack.of_role(role) if part.wanted]
    name = f"{role}-{fault.details.get('number', '0')}"
    return name if name in wanted or not wanted else wanted[0]


def links_of(ground: Ground, fault: PlannedFault, name: str) -> list[Link]:
    """The links that a fault means, where a service of this name is the one that it hits."""
    source, _, target = fault.target.removeprefix("link:").partition(">")
    pattern = f"client>{name}" if source == "client" else f"{name}>{target}"
    links = ground.stack.links(pattern)
    if not links:
        raise DidNotFire(f"there is no link {pattern}")
    return links


class Laid:
    """A disturbance that is on, at every link that its fault means."""

    def __init__(self, ground: Ground, fault: PlannedFault, make: Callable[[], Disturbance], directions: str) -> None:
        self.victim = victim(ground, fault)
        links = links_of(ground, fault, self.victim)
        self._on = [(link, each) for link in links for each in link.lay(make, directions)]

    @property
    def names(self) -> list[str]:
        """Of the links."""
        return list(dict.fromkeys(link.name for link, _ in self._on))

    @property
    def hits(self) -> int:
        """How often it touched something."""
        return sum(each.hits for _, each in self._on)

    def lift(self) -> None:
        """End it."""
        for link, each in self._on:
            link.lift(each)


def lay(ground: Ground, fault: PlannedFault, make: Callable[[], Disturbance], *, directions: str | None = None) -> Hit:
    """Begin a fault of a link; it stays until it has touched something.

    A service may be lost for good while one waits for it: the fault then moves to another of its kind.
    """
    chosen = directions or fault.details.get("direction", "both")
    laid = Laid(ground, fault, make, chosen)
    hit = Hit(detail=laid.names[0])

    async def heal() -> str:
        nonlocal laid
        for _ in range(int(HOLD_S / LOOK_S)):
            if laid.hits:
                break
            if laid.victim != victim(ground, fault):
                laid.lift()
                laid = Laid(ground, fault, make, chosen)
                hit.at, hit.detail = ground.stack.clock.now(), laid.names[0]
            await asyncio.sleep(LOOK_S)
        laid.lift()
        if not laid.hits:
            raise DidNotFire(f"nothing went over {', '.join(laid.names)}")
        return f"{laid.hits} times"

    hit.heal = heal
    return hit


@act("latency", "link")
async def latency(ground: Ground, fault: PlannedFault) -> Hit:
    """Everything comes later."""
    return lay(ground, fault, lambda: Disturbance(latency_s=int(fault.details["ms"]) / 1000))


@act("black-hole", "link")
async def black_hole(ground: Ground, fault: PlannedFault) -> Hit:
    """Nothing comes through, and nobody is told."""
    return lay(ground, fault, lambda: Disturbance(holds=True))


@act("drop-replies", "link")
async def drop_replies(ground: Ground, fault: PlannedFault) -> Hit:
    """What was asked is done, and the answer is lost."""
    return lay(ground, fault, lambda: Disturbance(drops=True), directions="down")


@act("cut", "link")
async def cut(ground: Ground, fault: PlannedFault) -> Hit:
    """The connection breaks behind so many bytes, in the middle of whatever that is."""
    return lay(ground, fault, lambda: Disturbance(cut_after=int(fault.details["bytes"])))


@act("reset", "link")
async def reset(ground: Ground, fault: PlannedFault) -> Hit:
    """Every connection is reset."""
    for _ in range(int(HOLD_S / LOOK_S)):
        count = sum(link.reset() for link in links_of(ground, fault, victim(ground, fault)))
        if count:
            return Hit(detail=f"{count} connections")
        await asyncio.sleep(LOOK_S)
    raise DidNotFire("nothing was connected")
