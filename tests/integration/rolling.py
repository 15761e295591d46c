"""Worker services that are restarted again and again, and the load that they work on meanwhile."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from hazard_parts import environment

from headrace.contracts.config import JobConfig
from headrace.local.ports import free_port
from headrace.local.service import ServiceProcess, service_spec
from headrace.recovery.parts import Parts
from headrace.runtime.queue.base import Entry
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually
from headrace.testing.executors import TEST_POOL
from headrace.worker.child import SPEC_VARIABLE

SLOTS = 4
POOLS = f"[pools.crawl]\nmax_slots = 0\n[pools.default]\nmax_slots = 0\n[pools.test]\nmin_slots = {SLOTS}\n"
HORIZON_MS = 200


def serve(settings: Mapping[str, str], log: Path) -> None:
    """`headrace-worker` in a process of its own."""
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.clear()
    os.environ.update(settings)
    from headrace.worker.__main__ import main

    sys.exit(main([]))


class Fleet:
    """Starts worker services. They are forked from a process that has imported their libraries already.

    That is a third of what a start costs, and fifty starts are many.
    """

    def __init__(self, config: JobConfig, stores: Parts, folder: Path) -> None:
        self._folder = folder
        self.stores = stores
        pools = folder / "pools.toml"
        pools.write_text(POOLS)
        self.settings = environment(
            config,
            JOB_POOLS_FILE=str(pools),
            JOB_HTTP_PORT="0",
            JOB_MAX_WORKERS=str(SLOTS),
            JOB_CLAIM_HORIZON_MS=str(HORIZON_MS),
            JOB_WORKER_HEARTBEAT_SECONDS="1",
            JOB_LEASE_SECONDS="4",
            JOB_SHUTDOWN_GRACE_SECONDS="5",
            JOB_MAX_CRASHES="9",
            JOB_RECOVERY_INTERVAL_SECONDS="4",
            JOB_LOG_LEVEL="warning",
        )
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["headrace.worker.app", "headrace.runtime.process.service"])
        self._services: list[Service] = []

    def start(self) -> Service:
        """Start one more."""
        log = self._folder / f"worker-{len(self._services)}.log"
        process = self._context.Process(target=serve, args=(self.settings, log), daemon=False)
        process.start()
        self._services.append(Service(process, log))
        return self._services[-1]

    def close(self) -> None:
        """End what is left."""
        for service in self._services:
            service.kill()

    def complaints(self) -> list[str]:
        """What services logged that no restart explains."""
        lines = [line for service in self._services for line in service.log.read_text().splitlines()]
        return [line for line in lines if "Traceback" in line or '"level": "error"' in line]


class Service:
    """One worker service."""

    def __init__(self, process: multiprocessing.process.BaseProcess, log: Path) -> None:
        self._process = process
        self.log = log

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process.pid is not None
        return self._process.pid

    def incarnations(self) -> list[str]:
        """Those of its children."""
        found = []
        for child in psutil.Process(self.pid).children():
            try:
                spec = json.loads(child.environ().get(SPEC_VARIABLE, "{}"))
            except (psutil.Error, OSError):
                continue
            if "incarnation" in spec:
                found.append(spec["incarnation"])
        return found

    def terminate(self) -> None:
        """SIGTERM."""
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the service and to its children at once, as when a host dies; does nothing when it has ended."""
        if self._process.exitcode is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.join()

    async def ended(self, *, within: float) -> int:
        """Its exit code."""
        await eventually(lambda: self._process.exitcode is not None, within=within, what="the end of a service")
        assert self._process.exitcode is not None
        return self._process.exitcode


@contextmanager
def recovery_beside(fleet: Fleet, log_file: Path) -> Iterator[ServiceProcess]:
    """Recovery as a process of its own."""
    process = ServiceProcess(service_spec("recovery", 8083), port=free_port(), env=fleet.settings, log_file=log_file)
    try:
        yield process
    finally:
        process.kill()


class Load:
    """Short jobs that say when they start."""

    def __init__(self, stores: Parts, effects: Path, seed: int) -> None:
        self._stores = stores
        self._dice = random.Random(seed)
        self.effects = effects
        self.submitted = 0

    async def add(self, count: int) -> None:
        """Let so many more wait."""
        jobs = [
            make_job(
                type="test.sleep",
                pool=TEST_POOL,
                payload=json.dumps({"seconds": self._dice.uniform(0.01, 0.04), "effects": str(self.effects)}),
            )
            for _ in range(count)
        ]
        await self._stores.jobs.insert(jobs)
        await self._stores.queue.enqueue(TEST_POOL, [Entry(job.id, job.ready_score) for job in jobs])
        self.submitted += count
