"""How a drain is measured: from the first job seen ended to the last, with the CPU of the process that ran them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import psutil


@dataclass(frozen=True)
class Drain:
    """One measured drain."""

    jobs: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per job."""
        return self.cpu_seconds / self.jobs * 1e6

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return {**asdict(self), "rate": round(self.rate, 1), "cpu_us_per_job": round(self.cpu_us, 1)}


async def watch_drain(total: int, ended: Callable[[], Awaitable[int]], pid: int, *, within: float = 180.0) -> Drain:
    """Wait until `total` jobs have ended.

    The start-up before the first ended job does not count, nor do the jobs that had ended by then.
    """
    process = psutil.Process(pid)
    deadline = time.monotonic() + within
    while not (first := await ended()):
        _check(deadline)
        await asyncio.sleep(0.002)
    began, cpu = time.perf_counter(), _cpu(process)
    while (count := await ended()) < total:
        _check(deadline, f"{count} of {total}")
        await asyncio.sleep(0.01)
    return Drain(total - first, time.perf_counter() - began, _cpu(process) - cpu)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _check(deadline: float, what: str = "no job ended") -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(f"the drain did not end: {what}")
