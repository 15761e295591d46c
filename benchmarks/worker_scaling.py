"""`python -m benchmarks.worker_scaling`: how a worker service follows its load.

Starts one real worker service on fresh stores and lets jobs that sleep arrive by a pattern: all at once (`spike`), more
and more and then fewer (`ramp`), or evenly (`steady`). Draws what waits, the slots and processes of the pool, and the
jobs that ended per second, and prints when the pool reached its largest and its smallest size.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.services import run_service
from benchmarks.stores import BATCH, Bench, bench_stores, report
from benchmarks.svg import Line, Panel, draw
from headrace.contracts.heartbeat import ChildBeat
from headrace.runtime.queue.base import Entry
from headrace.runtime.queue.hints import Hints
from headrace.testing.builders import make_job

POOL, TYPE = "test", "test.sleep"
EVERY_SECONDS = 0.2
POOLS = """
[pools.crawl]
min_slots = 0
[pools.default]
min_slots = 0
[pools.test]
slots_per_process = 10
[pools.test.autoscale]
cooldown_down_seconds = 5
"""


@dataclass(frozen=True)
class Sample:
    """What was seen at one moment; `ended` counts from the start."""

    seconds: float
    backlog: int
    slots: int
    busy: int
    processes: int
    ended: int


def arrivals(pattern: str, *, jobs: int, seconds: float) -> list[int]:
    """How many jobs arrive in each tenth of a second."""
    ticks = round(seconds * 10)
    if pattern == "spike":
        return [jobs]
    weights = [1.0 if pattern == "steady" else float(min(tick + 1, ticks - tick)) for tick in range(ticks)]
    total, given, counts = sum(weights), 0, []
    for index in range(len(weights)):
        upto = round(jobs * sum(weights[: index + 1]) / total)
        counts.append(upto - given)
        given = upto
    return counts


async def submit(bench: Bench, counts: list[int], payload: str) -> None:
    """Let jobs arrive, each tick on time or as soon as the stores have taken the last."""
    began = time.monotonic()
    for tick, count in enumerate(counts):
        await asyncio.sleep(max(0.0, began + tick / 10 - time.monotonic()))
        for start in range(0, count, BATCH):
            batch = [make_job(type=TYPE, pool=POOL, payload=payload) for _ in range(min(BATCH, count - start))]
            await bench.state.insert(batch)
            await bench.queue.enqueue(POOL, [Entry(job.id, job.ready_score) for job in batch])


async def children(bench: Bench) -> list[ChildBeat]:
    """The children of the pool, as the last heartbeat tells."""
    beats = await Hints(bench.redis, bench.config.namespace).heartbeats()
    return [child for beat in beats for child in beat.children if child.pool == POOL]


async def until_at_rest(bench: Bench) -> None:
    """Wait until the pool has the one slot that it keeps."""
    for _ in range(300):
        if sum(child.slots for child in await children(bench)) == 1:
            return
        await asyncio.sleep(0.1)
    raise TimeoutError("the worker told of no slot")


async def watch(bench: Bench, began: float, total: int, resting: int) -> list[Sample]:
    """Sample until everything has ended and the pool is at rest again."""
    samples: list[Sample] = []
    while True:
        now = time.monotonic()
        depths, beat = await asyncio.gather(bench.queue.depths(POOL), children(bench))
        ended = await bench.queue.drained(POOL)
        slots, busy = sum(child.slots for child in beat), sum(child.busy for child in beat)
        samples.append(Sample(round(now - began, 3), sum(depths.waiting.values()), slots, busy, len(beat), ended))
        if ended >= total and slots <= resting and len(beat) <= 1:
            return samples
        if now - began > 600:
            raise TimeoutError(f"{ended} of {total} jobs ended, {slots} slots")
        await asyncio.sleep(max(0.0, now + EVERY_SECONDS - time.monotonic()))


async def run(options: argparse.Namespace) -> tuple[dict[str, Any], list[Sample]]:
    """One run."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "pools.toml"
        file.write_text(POOLS)
        settings = {"max_workers": options.max_workers, "worker_heartbeat_seconds": EVERY_SECONDS}
        async with bench_stores(**settings) as bench:
            os.environ.update(JOB_TEST_MODE="1", JOB_POOLS_FILE=str(file))
            await bench.complete_pool(POOL)
            async with run_service("worker"):
                await until_at_rest(bench)
                counts = arrivals(options.load_pattern, jobs=options.jobs, seconds=options.seconds)
                payload = json.dumps({"seconds": options.job_seconds})
                began = time.monotonic()
                submitting = asyncio.create_task(submit(bench, counts, payload))
                samples = await watch(bench, began, options.jobs, resting=1)
                await submitting
    return summary(options, samples), samples


def summary(options: argparse.Namespace, samples: list[Sample]) -> dict[str, Any]:
    """The figures that matter."""
    most = max(sample.slots for sample in samples)
    done = next(sample.seconds for sample in samples if sample.ended >= options.jobs)
    return {
        "benchmark": "worker_scaling",
        "title": f"{options.jobs:,} jobs of {options.job_seconds:g} s, {options.load_pattern}, "
        f"JOB_MAX_WORKERS={options.max_workers}",
        "pattern": options.load_pattern,
        "jobs": options.jobs,
        "job_seconds": options.job_seconds,
        "max_workers": options.max_workers,
        "most_slots": most,
        "most_slots_after_seconds": next(sample.seconds for sample in samples if sample.slots == most),
        "most_processes": max(sample.processes for sample in samples),
        "drained_after_seconds": done,
        "at_rest_after_seconds": samples[-1].seconds,
        "jobs_per_second": round(options.jobs / done, 1),
    }


def picture(result: dict[str, Any], samples: list[Sample]) -> str:
    """The curves as SVG."""

    def line(name: str, *, stepped: bool = False) -> Line:
        return Line(name, [(sample.seconds, getattr(sample, name)) for sample in samples], stepped)

    width = 5  # samples: one second
    rates = [
        (sample.seconds, max(0.0, (sample.ended - before.ended) / (sample.seconds - before.seconds)))
        for before, sample in zip(samples, samples[width:], strict=False)
    ]
    panels = [
        Panel("jobs that wait", [line("backlog")]),
        Panel("slots", [line("slots", stepped=True), line("busy")], limit=result["max_workers"]),
        Panel("processes", [line("processes", stepped=True)]),
        Panel("jobs ended per second", [Line("throughput", rates)]),
    ]
    return draw(result["title"], panels)


def main() -> None:
    """Parse, run, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-workers", type=int, default=50)
    parser.add_argument("--load-pattern", choices=("spike", "ramp", "steady"), default="spike")
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--job-seconds", type=float, default=0.1)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long jobs arrive in ramp and steady")
    parser.add_argument("--out", type=Path, default=Path("scaling.svg"), help="the picture; the figures beside it")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    result, samples = asyncio.run(run(options))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(picture(result, samples), encoding="utf-8")
    figures = {**result, "samples": [asdict(sample) for sample in samples]}
    options.out.with_suffix(".json").write_text(json.dumps(figures) + "\n", encoding="utf-8")
    rows = [
        (name.replace("_", " "), f"{result[name]:g}")
        for name in (
            "most_slots",
            "most_slots_after_seconds",
            "most_processes",
            "drained_after_seconds",
            "at_rest_after_seconds",
            "jobs_per_second",
        )
    ]
    report(result, rows, ("", "figure"), as_json=options.json)


if __name__ == "__main__":
    main()
