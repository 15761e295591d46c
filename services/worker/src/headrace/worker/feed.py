"""Between the claim loop and Dramatiq's threads: claimed jobs wait here, in our hands, until a thread is free.

Dramatiq's own queue never holds a job that no thread can start at once, so what has not started can be handed back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from headrace.worker.held import Held, Phase
from headrace.worker.suspects import is_suspect


class Feed:
    """A buffer with a gate: at most `slots` jobs are out at a time, and at most `max_jobs` ever.

    Args:
        slots: Threads that run jobs; `resize` may lower that and raise it again.
        on_room: Called from any thread when the claim loop may have something to do.
        max_jobs: After so many jobs nothing is handed out any more; None = no limit.
        on_held: Told whenever it changes how many slots are in use or may be used, and whether the limit is reached.
            Called under the lock: it must be quick.
    """

    def __init__(
        self,
        slots: int,
        on_room: Callable[[], None],
        *,
        max_jobs: int | None = None,
        on_held: Callable[[int, bool], None] | None = None,
    ) -> None:
        self._slots = slots
        self._on_room = on_room
        self._left = max_jobs
        self._on_held = on_held
        self._waiting: deque[Held] = deque()
        self._out: set[Held] = set()
        self._alone = False
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
            while self._closed or not (self._waiting and self._is_open()):
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    return None
                self._changed.wait(left)
            held = self._waiting.popleft()
            self._out.add(held)
            if self._left is not None:
                self._left -= 1
                self._tell_held()
            self._alone = is_suspect(held.job)
            return held

    def done(self, held: Held) -> None:
        """A job that was taken has ended: its thread is free."""
        with self._changed:
            self._out.discard(held)
            self._alone = False  # if one was, it was the only one
            if len(self._out) >= self._slots or self._left is not None:
                self._tell_held()
            self._changed.notify()
            low = len(self._waiting) <= self._slots
        if low:
            self._on_room()

    def resize(self, slots: int) -> None:
        """Let at most so many jobs be out from now on. Those that are out stay out."""
        with self._changed:
            self._slots = slots
            self._tell_held()
            self._changed.notify_all()

    def _is_open(self) -> bool:
        if self._alone or len(self._out) >= self._slots or self._left == 0:
            return False
        return not self._out or not is_suspect(self._waiting[0].job)

    def _tell_held(self) -> None:
        if self._on_held is not None:
            open_ = max(self._slots, len(self._out))
            held = open_ if self._left is None else min(open_, len(self._out) + self._left)
            self._on_held(held, self._left == 0)

    def withdraw(self, *, older_than_seconds: float = 0.0, suspects_seconds: float | None = None) -> list[Held]:
        """Take back the jobs that have waited at least this long; suspects after a time of their own, if one is given.

        Suspects need it: one waits until every other job has ended.
        """
        now = time.monotonic()

        def waited(held: Held) -> bool:
            longer = suspects_seconds is not None and is_suspect(held.job)
            limit = suspects_seconds if longer and suspects_seconds is not None else older_than_seconds
            return now - held.claimed_at >= limit

        with self._changed:
            taken = [held for held in self._waiting if waited(held)]
            if taken:
                gone = set(map(id, taken))
                self._waiting = deque(held for held in self._waiting if id(held) not in gone)
                self._changed.notify()  # what stood behind a suspect may start now
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
        """How long the job that has waited longest has waited, suspects aside; None when none waits."""
        with self._changed:
            oldest = next((held for held in self._waiting if not is_suspect(held.job)), None)
            return None if oldest is None else time.monotonic() - oldest.claimed_at

    def running_longer_than(self, seconds: float) -> int:
        """How many jobs began to run longer ago than this and have not ended."""
        since = time.monotonic() - seconds
        with self._changed:
            return sum(held.started_at is not None and held.started_at < since for held in self._out)

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def slots(self) -> int:
        """Jobs that may be out."""
        return self._slots

    @property
    def left(self) -> int | None:
        """Jobs that may still be claimed before `max_jobs` is reached; None = no limit."""
        with self._changed:
            return None if self._left is None else max(0, self._left - len(self._waiting))

    @property
    def is_reserved(self) -> bool:
        """Whether a suspect runs, or is the last that waits: nothing must be claimed to run beside it."""
        with self._changed:
            return self._alone or bool(self._waiting and is_suspect(self._waiting[-1].job))

    @property
    def running(self) -> int:
        """Jobs that are out."""
        return len(self._out)

    @property
    def waiting(self) -> int:
        """Jobs that wait for a thread."""
        return len(self._waiting)
