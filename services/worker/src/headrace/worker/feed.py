"""Between the claim loop and Dramatiq's threads: claimed jobs wait here, in our hands, until a thread is free.

Dramatiq's own queue never holds a job that no thread can start at once, so what has not started can be handed back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from headrace.worker.held import Held, Phase


class Feed:
    """A buffer with a gate: at most `slots` jobs are out at a time.

    Args:
        slots: Threads that run jobs.
        on_room: Called from any thread when the claim loop may have something to do.
    """

    def __init__(self, slots: int, on_room: Callable[[], None]) -> None:
        self._slots = slots
        self._on_room = on_room
        self._waiting: deque[Held] = deque()
        self._out = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, jobs: list[Held]) -> None:
        """Let jobs wait for a thread, in claim order."""
        with self._changed:
            self._waiting.extend(jobs)
            self._changed.notify()

    def take(self, timeout_seconds: float) -> Held | None:
        """The next job, as soon as there is one and a thread is free; None after the time or once closed."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while self._closed or not (self._waiting and self._out < self._slots):
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    return None
                self._changed.wait(left)
            self._out += 1
            return self._waiting.popleft()

    def done(self) -> None:
        """A job that was taken has ended: its thread is free."""
        with self._changed:
            self._out -= 1
            self._changed.notify()
            low = len(self._waiting) <= self._slots
        if low:
            self._on_room()

    def withdraw(self, *, older_than_seconds: float = 0.0) -> list[Held]:
        """Take back the jobs that have waited at least this long."""
        limit = time.monotonic() - older_than_seconds
        with self._changed:
            taken = [held for held in self._waiting if held.claimed_at <= limit]
            if taken:
                self._waiting = deque(held for held in self._waiting if held.claimed_at > limit)
        return [held for held in taken if held.phase is Phase.WAITING]

    def discard(self, held: Held) -> bool:
        """Take one job back. False: it is not waiting here any more."""
        with self._changed:
            try:
                self._waiting.remove(held)
            except ValueError:
                return False
        return True

    def oldest_seconds(self) -> float | None:
        """How long the job that has waited longest has waited; None when none waits."""
        with self._changed:
            return time.monotonic() - self._waiting[0].claimed_at if self._waiting else None

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def running(self) -> int:
        """Jobs that are out."""
        return self._out

    @property
    def waiting(self) -> int:
        """Jobs that wait for a thread."""
        return len(self._waiting)
