"""The worker's wall clock jumps by an hour: leases, limits and due times do not follow it."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hazard_parts import environment, open_stores
from whole import assert_sound_log

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import ExecutionPolicy
from headrace.contracts.job import Job
from headrace.local.ports import free_port
from headrace.local.service import ServiceProcess, service_spec
from headrace.recovery.parts import Parts
from headrace.runtime.queue import Hints
from headrace.runtime.queue.base import Entry
from headrace.runtime.store.job_types import JobType
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually
from headrace.testing.executors import TEST_POOL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="moving a process's clock takes a C compiler"),
]

LIBRARY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long *jump;
static long seconds(void) {
  static long none = 0;
  if (!jump) {
    int file = open(getenv("CLOCK_JUMP_FILE"), O_RDONLY);
    void *page = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    jump = page == MAP_FAILED ? &none : page;
  }
  return *jump;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int answer = real(clock, now);
  if (clock == CLOCK_REALTIME) now->tv_sec += seconds();
  return answer;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *into) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (into) *into = exact.tv_sec;
  return exact.tv_sec;
}
"""
POOLS = "[pools.crawl]\nmax_slots = 0\n[pools.default]\nmax_slots = 0\n[pools.test]\nmin_slots = 4\n"


class Clock:
    """The wall clock of every process that has `settings` in its environment."""

    def __init__(self, folder: Path) -> None:
        source, library, self._file = folder / "jump.c", folder / "jump.so", folder / "jump"
        source.write_text(LIBRARY)
        self._file.write_bytes(bytes(8))
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
        self.settings = {"LD_PRELOAD": str(library), "CLOCK_JUMP_FILE": str(self._file)}

    def jump(self, seconds: int) -> None:
        """Move it, for running processes too."""
        with self._file.open("r+b") as file:  # in place: it is mapped
            file.write(seconds.to_bytes(8, "little", signed=True))


@pytest.fixture
async def stores(config: JobConfig) -> AsyncIterator[Parts]:
    async with open_stores(config) as parts:
        kinds = ("test.sleep", "test.block", "test.fail")
        await parts.job_types.register([JobType(kind, ExecutionPolicy(pool=TEST_POOL), {}) for kind in kinds])
        assert await parts.queue.finish_rebuild(TEST_POOL, await parts.queue.begin_rebuild(TEST_POOL))
        yield parts


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def services(config: JobConfig, stores: Parts, clock: Clock, tmp_path: Path) -> Iterator[Path]:
    """A worker with the clock, and a recovery with the machine's own; the worker's log."""
    pools = tmp_path / "pools.toml"
    pools.write_text(POOLS)
    settings = environment(
        config,
        JOB_POOLS_FILE=str(pools),
        JOB_WORKER_HEARTBEAT_SECONDS="1",
        JOB_LEASE_SECONDS="4",
        JOB_RECOVERY_INTERVAL_SECONDS="4",
    )
    log = tmp_path / "worker.log"
    started = [
        ServiceProcess(
            service_spec("worker", 8082), port=free_port(), env={**settings, **clock.settings}, log_file=log
        ),
        ServiceProcess(
            service_spec("recovery", 8083), port=free_port(), env=settings, log_file=tmp_path / "recovery.log"
        ),
    ]
    yield log
    for process in started:
        process.kill()


async def submit(stores: Parts, type_: str, *, due_in: float = 0.0, **fields: Any) -> Job:
    job = make_job(type=type_, pool=TEST_POOL, payload=json.dumps(fields.pop("payload", {})), **fields)
    if due_in:
        job = job.model_copy(update={"run_at": job.created_at + timedelta(seconds=due_in)})
    await stores.jobs.insert([job])
    await stores.queue.enqueue(TEST_POOL, [Entry(job.id, job.ready_score, job.run_at_ms if due_in else 0)])
    return job


async def until(stores: Parts, job: Job, state: str, *, within: float = 20) -> dict[str, Any]:
    async def probe() -> dict[str, Any]:
        found: dict[str, Any] = await stores.database.jobs.find_one({"_id": job.id})
        assert found["state"] == state, found["log"]
        return found

    return await eventually(probe, within=within, every=0.02)


@pytest.mark.parametrize("jump", [3600, -3600])
async def test_a_clock_that_jumps_by_an_hour_changes_no_outcome(
    config: JobConfig, stores: Parts, clock: Clock, services: Path, jump: int
) -> None:
    long = await submit(stores, "test.sleep", payload={"seconds": 8})
    limited = await submit(stores, "test.sleep", payload={"seconds": 60}, timeout_seconds=4, max_retries=0)
    blocked = await submit(stores, "test.block", payload={"seconds": 60}, timeout_seconds=4, max_retries=0)
    for job in (long, limited, blocked):
        await until(stores, job, "processing", within=30)
    began = time.monotonic()
    clock.jump(jump)

    delayed = await submit(stores, "test.sleep", payload={"seconds": 0}, due_in=2.0)
    retried = await submit(stores, "test.fail", payload={"until_attempt": 1})
    soon = await until(stores, delayed, "completed")
    assert 0 <= (soon["claimed_at"] - soon["run_at"]).total_seconds() < 1.5, "neither early nor an hour late"
    assert (await until(stores, retried, "completed"))["failures"] == 1
    for job in (limited, blocked):
        over = await until(stores, job, "failed")
        assert (over["error"]["type"], over["crashes"]) == ("timeout", 0)
    assert 2.5 < time.monotonic() - began < 7, "the limit is counted by the monotonic clock"

    done = await until(stores, long, "completed")
    assert (done["attempt"], done["crashes"]) == (1, 0), "no lease was lost, and nobody was taken for dead"
    assert time.monotonic() - began > 5
    for job in (delayed, retried, long):
        found = await stores.database.jobs.find_one({"_id": job.id})
        assert_sound_log(found)
        assert (
            found["claimed_at"]
            <= found["started_at"] + timedelta(seconds=0.05)
            <= found["finished_at"] + timedelta(seconds=0.1)
        ), "times are the server's"
    alive = await stores.incarnations.alive()
    assert len(alive) == 1
    (beat,) = await Hints(stores.queue._redis, config.namespace).heartbeats()
    seconds, _ = await stores.queue._redis.time()
    assert abs(beat.at.timestamp() - seconds) < 5, "how old a heartbeat is, Redis says"
    lines = [json.loads(line) for line in services.read_text().splitlines() if line.startswith("{")]
    said = [datetime.fromisoformat(line["at"]).timestamp() for line in lines if line["event"] == "job.ended"]
    assert abs(said[-1] - jump - time.time()) < 60, "the worker's clock has jumped"
