"""An event loop without a clock, threads or sockets: time passes when nothing else can happen, and a seed decides who
goes on next.

Each task belongs to an *actor*, a stand-in for a process, by the context variable `ACTOR`. Within an actor callbacks
run in the order they were scheduled, as in any asyncio program. Between actors the order is a throw of the dice.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from asyncio import events
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

ACTOR: ContextVar[str] = ContextVar("ACTOR", default="")
"""Which process this code runs in; empty outside of all of them."""
BEGIN_SECONDS = 1000.0


class NothingHappensError(Exception):
    """No task can go on and no timer is set: the schedule hangs."""


class SimLoop(asyncio.BaseEventLoop):
    """The loop of one schedule.

    Args:
        dice: Chooses among the actors that can go on. Same seed, same code: same order.
    """

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._now = BEGIN_SECONDS
        self._dice = dice
        self._timers: list[tuple[float, int, events.TimerHandle]] = []
        self._made = 0
        self._queues: dict[str, deque[events.Handle]] = {}
        self._dead: dict[str, list[events.Handle]] = {}
        self._frozen: dict[str, deque[events.Handle]] = {}
        self.errors: list[dict[str, Any]] = []
        """What nobody caught."""
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    # -- what actors may suffer --------------------------------------------------------------------------------

    def kill(self, actor: str) -> None:
        """Let nothing of the actor run any more, as after a SIGKILL. What it sent is on its way all the same."""
        lost = [*self._queues.pop(actor, ()), *self._frozen.pop(actor, ())]
        self._dead.setdefault(actor, []).extend(lost)

    def is_dead(self, actor: str) -> bool:
        """Whether it was killed."""
        return actor in self._dead

    def freeze(self, actor: str, seconds: float) -> None:
        """Stop an actor for a while, as by SIGSTOP. Its clock goes on."""
        if actor not in self._dead and actor not in self._frozen:
            self._frozen[actor] = self._queues.pop(actor, deque())
            self.call_later(seconds, self._thaw, actor, context=Context())

    @property
    def has_frozen(self) -> bool:
        """Whether somebody is stopped now."""
        return bool(self._frozen)

    def _thaw(self, actor: str) -> None:
        waiting = self._frozen.pop(actor, None)
        if waiting:
            self._queues[actor] = waiting

    async def bury(self) -> None:
        """End every other task, those of dead actors too, so that nothing is left when the loop is closed."""
        left_behind = [*self._frozen.values(), *self._dead.values()]
        self._frozen, self._dead = {}, {}
        for handles in left_behind:
            for handle in handles:
                self._add(handle)
        me = asyncio.current_task(self)
        for _ in range(100):
            left = [task for task in asyncio.all_tasks(self) if task is not me]
            if not left:
                return
            for task in left:
                task.cancel()
            await asyncio.sleep(0.01)
        raise NothingHappensError(f"{len(left)} tasks do not end: {left[:3]}")

    # -- asyncio's side ----------------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> events.Handle:
        """See asyncio."""
        handle = events.Handle(callback, args, self, copy_context() if context is None else context)
        self._add(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> events.Handle:
        """There are no threads."""
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> events.TimerHandle:
        """See asyncio."""
        timer = events.TimerHandle(when, callback, args, self, copy_context() if context is None else context)
        self._made += 1
        heapq.heappush(self._timers, (when, self._made, timer))
        return timer

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        """Cancelled timers leave when their time comes."""

    def _add(self, handle: events.Handle) -> None:
        actor = handle._context.get(ACTOR, "")
        if self._dead and actor in self._dead:
            self._dead[actor].append(handle)
        elif self._frozen and actor in self._frozen:
            self._frozen[actor].append(handle)
        else:
            queue = self._queues.get(actor)
            if queue is None:
                queue = self._queues[actor] = deque()
            queue.append(handle)

    def _run_once(self) -> None:
        queues = self._queues
        while not queues:
            self._advance()
        actor = next(iter(queues)) if len(queues) == 1 else self._dice.choice(list(queues))
        queue = queues[actor]
        handle = queue.popleft()
        if not queue:
            del queues[actor]
        if not handle._cancelled:
            handle._run()

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise NothingHappensError("no task can go on and no timer is set")
        self._now = now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                self._add(timer)

    def _process_events(self, event_list: Any) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """There is no other thread to be woken by."""
