"""Watches the children from outside: one that cannot stop a job, stands still or grows too large is replaced."""

from __future__ import annotations

import time

import structlog

from headrace.worker.child_process import ChildProcess
from headrace.worker.hard_timeouts import HardTimeouts
from headrace.worker.pool_manager import WorkerPoolManager

HARD_LIMIT_SECONDS = 10.0
"""A job that runs this much longer than its own limit cannot be stopped from inside; its process is replaced."""
SILENT_SECONDS = 3.0
"""Loops that have not turned for so long are reported; they turn twice a second."""

log = structlog.get_logger(__name__)


class ChildWatch:
    """Looks at every child's board and memory.

    Args:
        pools: The children.
        timeouts: Writes the time-out of a job before its process is killed.
        lease_seconds: Loops that stand still for so long (at least ten seconds) make their child stuck.
    """

    def __init__(self, pools: WorkerPoolManager, timeouts: HardTimeouts, *, lease_seconds: float) -> None:
        self._pools = pools
        self._timeouts = timeouts
        self._lease_seconds = lease_seconds

    def is_stuck(self, child: ChildProcess) -> bool:
        """Whether a loop of the child has not turned for a whole lease. A lease must not outlive the work."""
        if not child.board.ready:
            return time.monotonic() - child.began > max(self._lease_seconds, 30.0)
        return _silent_seconds(child) > max(self._lease_seconds, 10.0)

    async def run_once(self) -> int:
        """Kill what cannot go on; the pool manager replaces it. Returns how many."""
        killed = 0
        for child in self._pools.children():
            if child.ended.done() or child.killed:
                continue
            if await self._kill_overdue(child) or self._kill_stuck(child):
                killed += 1
            else:
                self._watch_turns(child)
                killed += self._watch_memory(child)
        return killed

    async def _kill_overdue(self, child: ChildProcess) -> bool:
        now = time.monotonic()
        over = [job for job in child.board.running() if now - job.since > job.limit_seconds + HARD_LIMIT_SECONDS]
        if not over:
            return False
        log.warning("child.hard_limit", incarnation=child.incarnation, jobs=[job.job_id for job in over])
        child.culprit = over[0].job_id
        # Its own transition first, so that the neighbours' orphaning is not blamed on them.
        for job in over:
            await self._timeouts.write(job, owner=child.incarnation)
        child.kill()
        return True

    def _kill_stuck(self, child: ChildProcess) -> bool:
        if not self.is_stuck(child):
            return False
        log.warning("child.stuck", incarnation=child.incarnation, pool=child.plan.pool)
        child.kill()
        return True

    def _watch_turns(self, child: ChildProcess) -> None:
        silent = _silent_seconds(child) if child.board.ready else 0.0
        if silent > SILENT_SECONDS and not child.silent:
            jobs = [job.job_id for job in child.board.running()]
            log.warning("child.silent", incarnation=child.incarnation, seconds=round(silent, 1), jobs=jobs)
        child.silent = silent > SILENT_SECONDS

    def _watch_memory(self, child: ChildProcess) -> int:
        spec = self._pools.specs[child.plan.pool]
        if spec.memory_limit_mb is None and spec.memory_recycle_mb is None:
            return 0
        rss_mb = child.rss_bytes() / 1_048_576
        if spec.memory_limit_mb is not None and rss_mb > spec.memory_limit_mb:
            running = child.board.running()
            log.warning("child.memory_limit", incarnation=child.incarnation, rss_mb=round(rss_mb), jobs=len(running))
            if len(running) == 1:
                child.culprit = running[0].job_id
            child.kill("memory")
            return 1
        if spec.memory_recycle_mb is not None and rss_mb > spec.memory_recycle_mb and child.worn is None:
            log.info("child.worn", incarnation=child.incarnation, pool=spec.name, rss_mb=round(rss_mb))
            child.worn = "memory"
        return 0


def _silent_seconds(child: ChildProcess) -> float:
    """For how long the slower of its loops has not turned."""
    beats = child.board.beats()
    return time.monotonic() - min(beats.loop, beats.claim)
