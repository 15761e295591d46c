"""CPU seconds of one job: a hard limit where a process runs one job at a time, else counted where it can be."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable

import structlog

from headrace.worker.held import Held

log = structlog.get_logger(__name__)

Run = Callable[[Held], None]


def limit_cpu(run: Run, *, cpu_seconds: int | None, slots: int) -> Run:
    """Wrap what runs a job, on a thread of its own.

    With one slot the kernel ends the process (SIGXCPU) when the job has used its seconds; the limit is set anew for
    each job. With several slots the time of the job's own thread is counted: that is all of a plain function, and
    nothing of a coroutine, whose work is done on the loop that all share. Using more is told in the log.

    Args:
        run: Runs one job to its end.
        cpu_seconds: What one job may use; None = no limit, and `run` is returned as it is.
        slots: Jobs that the process can run at once.
    """
    if cpu_seconds is None:
        return run
    clock = time.process_time if slots == 1 else time.thread_time

    def limited(held: Held) -> None:
        began = clock()
        if slots == 1:
            _set_limit(math.ceil(began) + cpu_seconds)
        try:
            run(held)
        finally:
            used = clock() - began
            if slots == 1:
                _set_limit(None)
            if used > cpu_seconds:
                log.warning("job.cpu_limit", job_id=held.job.id, cpu_seconds=round(used, 1), limit=cpu_seconds)

    return limited


def _set_limit(seconds: int | None) -> None:
    """The soft limit of this process alone: it can be raised again."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = hard if seconds is None else seconds
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
