"""The other side of the comparison: stock Dramatiq with its own RedisBroker, a no-op actor and one that says when."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dramatiq
import psutil
from dramatiq.brokers.redis import RedisBroker

_url = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/0")
broker = RedisBroker(url=_url, namespace="stock")  # type: ignore[no-untyped-call]  # dramatiq leaves it untyped
dramatiq.set_broker(broker)

MESSAGES = "stock:bench.msgs"
"""The hash of messages that are not acknowledged."""
STARTS = "stock:starts"


@dramatiq.actor(queue_name="bench")
def noop() -> None:
    """Do nothing."""


@dramatiq.actor(queue_name="bench")
def stamp(sent: float) -> None:
    """Say how many seconds ago it was sent."""
    broker.client.rpush(STARTS, time.time() - sent)


@contextmanager
def stock_workers(redis_url: str, *, processes: int, threads: int) -> Iterator[list[int]]:
    """Workers of stock Dramatiq; the ids of the processes that run the jobs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dramatiq", "benchmarks.stock", "-p", str(processes), "-t", str(threads), "--use-spawn"],
        env={**os.environ, "BENCH_REDIS_URL": redis_url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield _worker_pids(process.pid, processes)
    finally:
        process.terminate()
        process.wait(20)


def stock_script(redis_url: str, script: str) -> subprocess.Popen[str]:
    """Python code beside `noop`, `stamp` and `time`, with pipes for its input and output."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys, time\nfrom benchmarks.stock import noop, stamp\n{script}"],
        env={**os.environ, "BENCH_REDIS_URL": redis_url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _worker_pids(parent: int, count: int) -> list[int]:
    """The command's children that are no helpers of multiprocessing."""
    for _ in range(500):
        found = []
        for child in psutil.Process(parent).children():
            command = " ".join(child.cmdline())
            if "spawn_main" in command and "resource_tracker" not in command:
                found.append(child.pid)
        if len(found) >= count:
            return found
        time.sleep(0.02)
    raise TimeoutError("stock Dramatiq did not start its worker processes")
