"""How a drain is measured: from the first job seen ended to the last, with the CPU of those who did the work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass

import psutil


@dataclass(frozen=True)
class Drain:
    """One measured drain. CPU of the workers, and of the main store beside them."""

    jobs: int
    seconds: float
    cpu_seconds: float
    store_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds

    @property
    def cpu_us(self) -> float:
        """Worker CPU microseconds per job."""
        return self.cpu_seconds / self.jobs * 1e6

    @property
    def store_cpu_us(self) -> float:
        """Store CPU microseconds per job."""
        return self.store_cpu_seconds / self.jobs * 1e6

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return {**asdict(self), "rate": round(self.rate, 1), "cpu_us_per_job": round(self.cpu_us, 1)}


async def watch_drain(
    total: int, ended: Callable[[], Awaitable[int]], pids: Sequence[int], *, store_pid: int, within: float = 180.0
) -> Drain:
    """Wait until `total` jobs have ended.

    The start-up before the first ended job does not count, nor do the jobs that had ended by then.
    """
    deadline = time.monotonic() + within
    while not (first := await ended()):
        _check(deadline)
        await asyncio.sleep(0.002)
    began, cpu, store = time.perf_counter(), cpu_seconds(*pids), cpu_seconds(store_pid)
    while (count := await ended()) < total:
        _check(deadline, f"{count} of {total}")
        await asyncio.sleep(0.01)
    seconds = time.perf_counter() - began
    return Drain(total - first, seconds, cpu_seconds(*pids) - cpu, cpu_seconds(store_pid) - store)


def cpu_seconds(*pids: int) -> float:
    """User and system time of these processes so far."""
    total = 0.0
    for pid in pids:
        times = psutil.Process(pid).cpu_times()
        total += times.user + times.system
    return total


def _check(deadline: float, what: str = "no job ended") -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(f"the drain did not end: {what}")
