"""Disturb what services and stores say to each other, for `HEADRACE_CHAOS_SECONDS`, by a plan that a seed makes.

This is what answers to the stores' names on the services' network. It passes everything on to the real ones, and while
a fault lasts it does not: it delays, holds, swallows replies, cuts in the middle, or resets. Afterwards it passes
everything on again until it is stopped, so nobody is cut off when it is over.

Each fault is one line of JSON on standard output; the last line, `chaos.over`, counts them. At SIGTERM the exit code is
0 if all of them were over and each hit something, else 1: a fault that nobody felt has shown nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from proxy import Disturbance, Link

STORES = {"redis": 6379, "mongo": 27017}
START_SECONDS = 120.0
"""How long the services may take to speak to both stores before the first fault."""


@dataclass(frozen=True)
class Fault:
    """One disturbance.

    Attributes:
        at: Seconds after the start of the plan.
        lasts: Seconds; 0 for a reset, which is over at once.
        store: Whose connections.
        kind: A key of `KINDS`.
    """

    at: float
    lasts: float
    store: str
    kind: str


KINDS: Mapping[str, tuple[str, Callable[[], Disturbance]] | None] = {
    "slow": ("both", lambda: Disturbance(latency_s=0.15)),
    "hold": ("both", lambda: Disturbance(holds=True)),
    "swallow-replies": ("down", lambda: Disturbance(drops=True)),
    "cut": ("down", lambda: Disturbance(cut_after=100)),
    "reset": None,
}
"""What is laid on a link, and in which direction; nothing for what is over at once."""


def make_plan(seed: int, seconds: float) -> list[Fault]:
    """Faults one after another, each healed before the next, none going on beyond `seconds`. Equal for equal seeds."""
    dice = random.Random(seed)
    plan: list[Fault] = []
    at = 1.0
    while True:
        kind = dice.choice(list(KINDS))
        lasts = 0.0 if kind == "reset" else round(dice.uniform(1, 4), 1)
        if at + lasts > seconds:
            return plan
        plan.append(Fault(round(at, 1), lasts, dice.choice(list(STORES)), kind))
        at += lasts + dice.uniform(1, 3)


def say(event: str, **more: object) -> None:
    """One line."""
    sys.stdout.write(json.dumps({"event": event} | more) + "\n")
    sys.stdout.flush()


async def disturb(links: Mapping[str, Link], plan: list[Fault]) -> int:
    """Carry the plan out; returns how many faults touched something."""
    clock, fired = asyncio.get_running_loop().time, 0
    began = clock()
    for fault in plan:
        await asyncio.sleep(max(0.0, began + fault.at - clock()))
        hits = await _disturb_one(links[fault.store], fault)
        fired += hits > 0
        say("chaos.fault", **asdict(fault), hits=hits)
    return fired


async def _disturb_one(link: Link, fault: Fault) -> int:
    kind = KINDS[fault.kind]
    if kind is None:
        return link.reset()
    directions, make = kind
    laid = link.lay(make, directions)
    await asyncio.sleep(fault.lasts)
    for each in laid:
        link.lift(each)
    return sum(each.hits for each in laid)


async def until_used(links: Mapping[str, Link]) -> bool:
    """Whether somebody speaks to each store through us, in time."""
    for _ in range(int(START_SECONDS * 5)):
        if all(link.is_used for link in links.values()):
            return True
        await asyncio.sleep(0.2)
    return False


async def main() -> int:
    """Stand between, disturb, and go on passing everything until SIGTERM."""
    seed = int(os.environ.get("HEADRACE_CHAOS_SEED") or random.randrange(1 << 31))
    plan = make_plan(seed, float(os.environ.get("HEADRACE_CHAOS_SECONDS", "60")))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    links = {}
    for store, port in STORES.items():
        host, _, real = os.environ[f"HEADRACE_CHAOS_{store.upper()}"].partition(":")
        links[store] = Link(store, int(real), target_host=host)
        await links[store].start("0.0.0.0", port)  # noqa: S104 -- an internal network is all that this container has
    say("chaos.listening", seed=seed, planned=len(plan))
    waits = asyncio.create_task(stop.wait())
    works = asyncio.create_task(_work(links, plan))
    await asyncio.wait((waits, works), return_when=asyncio.FIRST_COMPLETED)
    went_well = works.done() and works.result()
    await waits
    works.cancel()
    for link in links.values():
        await link.close()
    return 0 if went_well else 1


async def _work(links: Mapping[str, Link], plan: list[Fault]) -> bool:
    if not await until_used(links):
        say("chaos.unused", detail="nobody comes through here; start the services with HEADRACE_STORES=disturbed")
        return False
    fired = await disturb(links, plan)
    say("chaos.over", planned=len(plan), fired=fired)
    return fired == len(plan)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
