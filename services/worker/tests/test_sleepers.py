"""Many sleeping jobs at once in one service, and several services that share work."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from worker_stage import Stage

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import ExecutionPolicy
from headrace.runtime.store.job_types import JobType
from headrace.testing.eventually import eventually
from headrace.testing.executors import TEST_POOL
from headrace.worker import service as service_module
from headrace.worker.service import JobWorkerService

SOON = 60


@pytest.fixture
def only_sleepers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(*, test_mode: bool) -> list[JobType]:
        return [JobType("test.sleep", ExecutionPolicy(pool=TEST_POOL), {})]

    monkeypatch.setattr(service_module, "discover", found)


async def start(config: JobConfig, folder: Path, slots: int, per_process: int) -> JobWorkerService:
    path = folder / "pools.toml"
    path.write_text(f"[pools.test]\nmin_slots = {slots}\nslots_per_process = {per_process}\n")
    service = JobWorkerService(config.model_copy(update={"pools_file": path, "max_workers": slots}))
    await service.start()

    def ready() -> bool:
        assert service.pools is not None
        return sum(child.board.held for child in service.pools.children() if child.board.ready) == slots

    await eventually(ready, within=SOON)
    return service


async def submit(stage: Stage, seconds: list[float]) -> None:
    for some in range(0, len(seconds), 500):
        for length in sorted(set(seconds[some : some + 500])):
            count = seconds[some : some + 500].count(length)
            payload = json.dumps({"seconds": length})
            await stage.submit(count, type="test.sleep", pool=TEST_POOL, payload=payload)


async def ended(stage: Stage, count: int) -> None:
    async def all_ended() -> bool:
        found = await stage.queue.drained(TEST_POOL)
        assert found == count, found
        return True

    await eventually(all_ended, within=SOON, every=0.01)


def running(service: JobWorkerService) -> int:
    assert service.pools is not None
    return sum(len(child.board.running()) for child in service.pools.children())


@pytest.mark.slow
@pytest.mark.usefixtures("only_sleepers")
@pytest.mark.parametrize("slots", [100, 1000])
async def test_so_many_jobs_sleep_at_once_in_one_process(
    stage: Stage, worker_config: JobConfig, tmp_path: Path, slots: int
) -> None:
    service = await start(worker_config, tmp_path, slots, slots)
    try:
        await submit(stage, [8.0] * slots)
        await eventually(lambda: running(service) == slots, within=SOON)
        assert service.pools is not None
        (child,) = service.pools.children()
        beats = child.board.beats()
        assert time.monotonic() - min(beats.loop, beats.claim) < 3, "the loops turn"
        await ended(stage, slots)
    finally:
        await service.close()


@pytest.mark.slow
@pytest.mark.usefixtures("only_sleepers")
async def test_an_idle_child_is_small(stage: Stage, worker_config: JobConfig, tmp_path: Path) -> None:
    service = await start(worker_config, tmp_path, 1, 10)
    try:
        assert service.pools is not None
        (child,) = service.pools.children()
        assert child.rss_bytes() < 100_000_000
    finally:
        await service.close()


@pytest.mark.slow
@pytest.mark.usefixtures("only_sleepers")
async def test_three_services_share_uneven_jobs_fairly_and_no_slot_idles_while_jobs_wait(
    record_property: Callable[[str, object], None], stage: Stage, worker_config: JobConfig, tmp_path: Path
) -> None:
    services = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        services.append(await start(worker_config, folder, 4, 4))
    try:
        lengths = [0.1, 0.1, 0.2, 0.1, 0.8, 0.1, 0.3, 1.5] * 30
        await submit(stage, lengths)
        busy = [0.0] * 3
        idle = total = 0.0
        last = time.monotonic()
        while sum((await stage.queue.depths(TEST_POOL)).waiting.values()) > 12:
            await asyncio.sleep(0.02)
            now = time.monotonic()
            for index, service in enumerate(services):
                used = running(service)
                busy[index] += used * (now - last)
                idle += (4 - used) * (now - last)
                total += 4 * (now - last)
            last = now
        await ended(stage, len(lengths))
    finally:
        await asyncio.gather(*(service.close() for service in services))
    mean = sum(busy) / 3
    record_property("busy", [round(share / mean, 3) for share in busy])
    record_property("idle", round(idle / total, 3))
    assert all(abs(share / mean - 1) <= 0.10 for share in busy)
    assert idle / total < 0.10, "slots stood idle while jobs waited"
