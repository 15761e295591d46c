"""Faults of the network between two processes, one direction or both."""

from __future__ import annotations

import asyncio

from .history import PlannedFault
from .nemesis import DidNotFire, Ground, Hit, act
from .proxy import Direction, Link

HOLD_S = 25.0
"""How much longer a fault stays when nothing has come its way yet: what it waits for may be down itself."""
LOOK_S = 0.1


def _links(ground: Ground, fault: PlannedFault) -> list[Link]:
    """`link:worker>redis` with number 1: those of worker-1."""
    source, _, target = fault.target.removeprefix("link:").partition(">")
    role = target if source == "client" else source
    number = fault.details.get("number", "0")
    wanted = [part.name for part in ground.stack.of_role(role) if part.wanted]
    if f"{role}-{number}" not in wanted and wanted:  # it is lost for good: the links of one that is left
        number = wanted[0].rpartition("-")[2]
    name = f"client>{target}-{number}" if source == "client" else f"{source}-{number}>{target}"
    links = ground.stack.links(name)
    if not links:
        raise DidNotFire(f"there is no link {name}")
    return links


def _directions(link: Link, fault: PlannedFault) -> list[Direction]:
    return {"up": [link.up], "down": [link.down]}.get(fault.details.get("direction", "both"), [link.up, link.down])


def _healing(links: list[Link]) -> Hit:
    before = {link.name: link.hits for link in links}

    def hits() -> int:
        return sum(link.hits - before[link.name] for link in links)

    async def heal() -> str:
        for _ in range(int(HOLD_S / LOOK_S)):
            if hits():
                break
            await asyncio.sleep(LOOK_S)
        touched = hits()
        for link in links:
            link.heal()
        if not touched:
            raise DidNotFire(f"nothing went over {', '.join(before)}")
        return f"{touched} times"

    return Hit(detail=links[0].name, heal=heal)


@act("latency", "link")
async def latency(ground: Ground, fault: PlannedFault) -> Hit:
    """Everything comes later."""
    links = _links(ground, fault)
    for link in links:
        for direction in _directions(link, fault):
            direction.latency_s = int(fault.details["ms"]) / 1000
    return _healing(links)


@act("black-hole", "link")
async def black_hole(ground: Ground, fault: PlannedFault) -> Hit:
    """Nothing comes through, and nobody is told."""
    links = _links(ground, fault)
    for link in links:
        for direction in _directions(link, fault):
            direction.hold()
    return _healing(links)


@act("drop-replies", "link")
async def drop_replies(ground: Ground, fault: PlannedFault) -> Hit:
    """What was asked is done, and the answer is lost."""
    links = _links(ground, fault)
    for link in links:
        link.down.drops = True
    return _healing(links)


@act("cut", "link")
async def cut(ground: Ground, fault: PlannedFault) -> Hit:
    """The connection breaks behind so many bytes, in the middle of whatever that is."""
    links = _links(ground, fault)
    for link in links:
        for direction in _directions(link, fault):
            direction.cut_after = int(fault.details["bytes"])
    return _healing(links)


@act("reset", "link")
async def reset(ground: Ground, fault: PlannedFault) -> Hit:
    """Every connection is reset."""
    for _ in range(int(HOLD_S / LOOK_S)):
        count = sum(link.reset() for link in _links(ground, fault))
        if count:
            return Hit(detail=f"{count} connections")
        await asyncio.sleep(LOOK_S)
    raise DidNotFire("nothing was connected")
