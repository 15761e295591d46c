"""Between actors and stores: every call is a request that arrives, is carried out, and is answered, each in its own
time; and any of that may go wrong.

A request is a matter of the network once it was sent: it arrives although its caller gave up, was cancelled or died.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Generator
from contextvars import Context
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .loop import ACTOR, SimLoop

Work = Callable[[], Any]
"""Carries a request out. One that returns a generator is carried out step by step, and others may come between."""


class Fate(Enum):
    """What becomes of a call, besides taking its time."""

    GOOD = "good"
    REFUSED = "refused"
    """No server was found: an error at once, and nothing was sent."""
    LOST = "lost"
    """The connection broke before the request arrived."""
    UNANSWERED = "unanswered"
    """The connection broke before the answer arrived."""
    LATE = "late"
    """The connection broke, and the request arrives afterwards."""


@dataclass
class Weather:
    """How bad things are. Chances are per call, delays in seconds."""

    refused: float = 0.0
    lost: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    split: float = 0.0
    """That something comes between two steps of a request that changes several documents."""
    slow: float = 0.0
    """That a request or an answer takes up to `slow_seconds`."""
    delay: float = 0.001
    slow_seconds: float = 3.0

    def fate(self, dice: random.Random) -> Fate:
        """Throw the dice for one call."""
        at = dice.random()
        for chance, fate in (
            (self.refused, Fate.REFUSED),
            (self.lost, Fate.LOST),
            (self.unanswered, Fate.UNANSWERED),
            (self.late, Fate.LATE),
        ):
            if at < chance:
                return fate
            at -= chance
        return Fate.GOOD


LATE_SECONDS = 8.0
"""A late request arrives this much later at most. A place lives for 60 s and no insert is sent in its last 20."""
TICK = 0.00025
"""Delays are multiples of this, so that things often happen at the same moment and the dice decide."""


@dataclass(frozen=True)
class Errors:
    """The driver's exceptions of one store."""

    refused: Callable[[], Exception]
    broken: Callable[[], Exception]
    timeout: Callable[[], Exception]


class Network:
    """The network of one schedule.

    Args:
        loop: The loop.
        dice: Decides everything here.
        tell: Takes one line per call for the trace.
    """

    def __init__(self, loop: SimLoop, dice: random.Random, tell: Callable[[str], None]) -> None:
        self._loop = loop
        self._dice = dice
        self._tell = tell
        self.weather = Weather()
        self.down: dict[str, float] = {}
        """Store → until when it does not answer."""
        self.calls = 0
        self.late = 0
        """Requests that are still on their way although their callers were told otherwise."""
        self.is_closed = False
        self.on_call: Callable[[int, str, str, bool], bool] = lambda number, actor, name, applied: False
        """Asked before a call is sent and after it was applied: True when the caller died of it."""

    async def call(self, store: str, name: str, work: Work, *, errors: Errors, deadline: float) -> Any:
        """Send a request and wait for its answer.

        Args:
            store: `mongo` or `redis`.
            name: What is asked, for the trace.
            work: What the server does.
            errors: What the driver raises.
            deadline: Seconds after which the caller is told that there is no answer.
        """
        if self.is_closed:
            raise asyncio.CancelledError
        self.calls += 1
        number, actor = self.calls, ACTOR.get()
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self.on_call(number, actor, name, False):
            return await answer  # it never comes: the caller is dead
        fate = self._fate(store)
        if self._tell is not None:
            self._tell(f"{number:5} {actor:16} {store} {name}{'' if fate is Fate.GOOD else '  ! ' + fate.value}")
        request = _Request(self, number, actor, name, work, answer)
        if fate is Fate.REFUSED:
            self._later(self._delay(), request.fail, errors.refused())
        elif fate is Fate.LOST:
            self._later(self._delay(), request.fail, errors.broken())
        elif fate is Fate.LATE:
            self._later(self._delay(), request.fail, errors.broken())
            self.late += 1
            self._later(self._dice.uniform(0, LATE_SECONDS), request.arrive_late)
        else:
            request.breaks = errors.broken() if fate is Fate.UNANSWERED else None
            request.until, request.timeout = self._loop.time() + deadline, errors.timeout
            request.go_on(request.arrive)
        return await answer

    def _fate(self, store: str) -> Fate:
        until = self.down.get(store, 0.0)
        if self._loop.time() < until:
            return self._dice.choice((Fate.REFUSED, Fate.REFUSED, Fate.LOST, Fate.UNANSWERED))
        return self.weather.fate(self._dice)

    def _delay(self) -> float:
        weather = self.weather
        if weather.slow and self._dice.random() < weather.slow:
            return self._dice.random() * weather.slow_seconds
        return int(self._dice.random() * weather.delay / TICK) * TICK

    def _later(self, seconds: float, callback: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, callback, *args, context=_NOWHERE)

    def is_split(self) -> bool:
        """Whether something comes between this step and the next."""
        return self.weather.split > 0 and self._dice.random() < self.weather.split


_NOWHERE = Context()
"""Of code that belongs to no actor, so that nobody's death stops it."""


@dataclass
class _Request:
    network: Network
    number: int
    actor: str
    name: str
    work: Work
    answer: asyncio.Future[Any]
    breaks: Exception | None = None
    until: float = float("inf")
    timeout: Callable[[], Exception] | None = None

    def go_on(self, callback: Callable[..., None], *args: Any) -> None:
        """Do the next thing after a delay. The caller hears of it when that is beyond its deadline."""
        network = self.network
        delay = network._delay()
        network._later(delay, callback, *args)
        if network._loop.time() + delay > self.until and self.timeout is not None:
            network._later(max(0.0, self.until - network._loop.time()), self.fail, self.timeout())
            self.timeout = None

    def arrive_late(self) -> None:
        """The server begins, and nobody waits for it."""
        self.network.late -= 1
        self.arrive()

    def arrive(self) -> None:
        """The server begins."""
        try:
            outcome = self.work()
        except Exception as error:  # noqa: BLE001 -- the server's own refusal travels back like any answer
            self._applied(error, is_error=True)
            return
        if isinstance(outcome, Generator):
            self._step(outcome)
        else:
            self._applied(outcome, is_error=False)

    def _step(self, steps: Generator[None, None, Any]) -> None:
        network = self.network
        try:
            while True:
                next(steps)
                if network.is_split():
                    self.go_on(self._step, steps)
                    return
        except StopIteration as end:
            self._applied(end.value, is_error=False)
        except Exception as error:  # noqa: BLE001 -- as above
            self._applied(error, is_error=True)

    def _applied(self, outcome: Any, *, is_error: bool) -> None:
        network = self.network
        if not network.is_closed and network.on_call(self.number, self.actor, self.name, True):
            return
        if self.breaks is not None:
            outcome, is_error = self.breaks, True
        self.go_on(self.fail if is_error else self._reply, outcome)

    def _reply(self, outcome: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(outcome)

    def fail(self, error: Exception) -> None:
        """Tell the caller."""
        if not self.answer.done():
            self.answer.set_exception(error)
