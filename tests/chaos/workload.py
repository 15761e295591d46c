"""What clients do while things break: submit, repeat what they are not sure of, cancel, and look."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .calls import Calls, Submission
from .history import Operation
from .plan import Load

REPEATS = 6
"""How often a client asks again for the same thing before it gives up on hearing."""
PAUSE_S = 0.25


@dataclass(frozen=True)
class Sinks:
    """Where jobs leave effects, and what nobody else may ever see of them."""

    effects: Path
    fenced: Path
    canary: str


class Workload:
    """Clients by seed. Each logical client gets a new name when it does not know how a call ended."""

    def __init__(self, *, seed: int, load: Load, urls: Sequence[str], calls: Calls, sinks: Sinks) -> None:
        self._seed = seed
        self._load = load
        self._urls = list(urls)
        self._calls = calls
        self._sinks = sinks
        self._names = itertools.count()
        self._tags = itertools.count()
        self._beside: set[asyncio.Task[Any]] = set()
        self.burst_factor = 1.0

    async def run(self, stop: asyncio.Event) -> None:
        """Go on until told to stop, then wait for the calls under way."""
        clients = [
            asyncio.create_task(self._client(random.Random(f"{self._seed}/{number}"), stop))
            for number in range(self._load.clients)
        ]
        await asyncio.gather(*clients)
        while self._beside:
            await asyncio.wait(self._beside)

    async def _client(self, dice: random.Random, stop: asyncio.Event) -> None:
        name = self._name()
        while not stop.is_set():
            await asyncio.sleep(dice.expovariate(self._load.rate * self.burst_factor / self._load.clients))
            url = dice.choice(self._urls)
            if dice.random() < 0.06:
                wanted = [self._submission(dice) for _ in range(dice.randint(2, 5))]
                answers = await self._calls.submit_many(url, name, wanted)
                if any(answer.outcome == "info" for answer in answers):
                    name = self._name()
            else:
                one = self._submission(dice)
                answers = [await self._calls.submit(url, name, one)]
                if answers[0].outcome == "info":
                    name = self._name()
                    if one.key is not None:
                        self._start(self._ask_again(random.Random(dice.random()), one))
            for answer in answers:
                self._follow(dice, answer)

    def _follow(self, dice: random.Random, answer: Operation) -> None:
        if answer.outcome != "ok" or answer.job_id is None:
            return
        luck = dice.random()
        if luck < 0.10:
            self._start(self._cancel(random.Random(dice.random()), answer.job_id))
        elif luck < 0.40:
            self._start(self._look(random.Random(dice.random()), answer.job_id))

    async def _ask_again(self, dice: random.Random, wanted: Submission) -> None:
        for _ in range(REPEATS):
            await asyncio.sleep(PAUSE_S * (1 + dice.random()))
            answer = await self._calls.submit(dice.choice(self._urls), self._name(), wanted)
            if answer.outcome != "info":
                self._follow(dice, answer)
                return

    async def _cancel(self, dice: random.Random, job_id: str) -> None:
        await asyncio.sleep(dice.choice((0.0, dice.uniform(0, 0.1), dice.uniform(0, 1.0))))
        for _ in range(REPEATS):
            answer = await self._calls.cancel(dice.choice(self._urls), self._name(), job_id)
            if answer.outcome != "info":
                return
            await asyncio.sleep(PAUSE_S)

    async def _look(self, dice: random.Random, job_id: str) -> None:
        """One client looks at one job several times, through whatever scheduler: it must not see it go back."""
        name = self._name()
        for turn in range(dice.randint(1, 4)):
            look = self._calls.get if dice.random() < 0.6 else self._calls.history
            if (await look(dice.choice(self._urls), name, job_id)).outcome == "info":
                name = self._name()
            await asyncio.sleep(dice.uniform(0, 0.4) * turn)

    def _submission(self, dice: random.Random) -> Submission:
        tag = f"t{self._seed}-{next(self._tags)}"
        job_type, payload, more = self._work(dice)
        body: dict[str, Any] = {
            "type": job_type,
            "payload": {"effects": str(self._sinks.effects), **payload},
            "priority": dice.choices(("high", "medium", "low"), (2, 5, 3))[0],
            "tags": {"tag": tag},
            **more,
        }
        key = f"k{self._seed}-{tag}" if dice.random() < 0.85 else None
        return Submission(body, key, tag)

    def _work(self, dice: random.Random) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
        luck = dice.random()
        fenced = {"fenced": str(self._sinks.fenced)}
        if luck < 0.50:
            return "test.sleep", {"seconds": round(dice.uniform(0, 0.3), 3), "result": self._sinks.canary, **fenced}, {}
        if luck < 0.60:
            delay = {"delay_seconds": round(dice.uniform(0.2, 3.0), 2)}
            return "test.sleep", {"seconds": 0.02, "result": self._sinks.canary, **fenced}, delay
        if luck < 0.76:
            return "test.steps", {"steps": dice.randint(2, 6), "seconds": 0.06, **fenced}, {}
        if luck < 0.90:
            how = dice.choices(("error", "permanent", "retry"), (6, 1, 2))[0]
            return "test.fail", {"until_attempt": dice.randint(1, 2), "how": how}, {}
        if luck < 0.98:
            return "test.block", {"seconds": round(dice.uniform(0.05, 0.4), 3), "cooperative": True}, {}
        return "test.sleep", {"seconds": round(dice.uniform(1.0, 3.0), 2), "result": self._sinks.canary, **fenced}, {}

    def _name(self) -> str:
        return f"c{next(self._names)}"

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
