"""Which threads run Python code, told by the processor time they use.

An exception that is raised in a thread waits there until a call in C returns. Until then every other thread of CPython
3.11 and 3.12 looks for it at each function call and loop, which is slow; where a tracer is set (a debugger, a coverage
measurement), they look for ever and the whole process stands still. So a thread that stands in a call is left alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable


class ThreadClocks:
    """The processor times of some threads at the last look."""

    def __init__(self) -> None:
        self._used: dict[int, int] = {}

    def moving(self, thread_ids: Iterable[int]) -> set[int]:
        """Those that have run since they were last looked at, however little; none at the first look.

        Args:
            thread_ids: Living threads of this process.
        """
        before, self._used = self._used, {thread_id: _used_ns(thread_id) for thread_id in thread_ids}
        return {thread_id for thread_id, used in self._used.items() if used != before.get(thread_id, used)}


def _used_ns(thread_id: int) -> int:
    if not hasattr(time, "pthread_getcpuclockid"):  # no Linux: every look sees a thread that has run
        return time.monotonic_ns()
    return time.clock_gettime_ns(time.pthread_getcpuclockid(thread_id))
