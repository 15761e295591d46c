"""Pages per second and CPU per page of the crawl executor, on a real site and a real MongoDB.

    python -m benchmarks.crawl                 # python3-doc, one crawl, three rounds
    python -m benchmarks.crawl --crawls 10     # ten at once on one event loop

The site is served from memory by another process, MongoDB is a fresh one, every page is stored with a majority. CPU is
that of the process that crawls, MongoDB's apart. Lag is how much later than asked a task of the same loop is resumed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import structlog
from pydantic import JsonValue

from benchmarks.measure import cpu_seconds
from benchmarks.site import find_folder, run_site
from benchmarks.stores import Bench, bench_stores, median, percentile, report
from headrace.contracts.executor import JobLog
from headrace.runtime.store.crawl_results import CrawlResults
from headrace.worker.crawler.payload import CrawlPayload
from headrace.worker.executors.crawl import CrawlJobExecutor
from headrace.worker.resources import WorkerResources

LOOK_SECONDS = 0.01
MAX_BYTES = 4_000_000


@dataclass
class Context:
    """What a job is given; keeps what it is told in memory."""

    job_id: str
    attempt: int = 1
    checkpoint: JsonValue = None
    cancelled: bool = False
    scratch_dir: Path = field(default_factory=Path)
    log: JobLog = field(default_factory=structlog.get_logger)
    sync: Any = None

    async def report_progress(self, fraction: float, message: str = "") -> None:
        """Nothing."""

    async def save_checkpoint(self, value: JsonValue) -> None:
        """Keep it."""
        self.checkpoint = value


@dataclass(frozen=True)
class Round:
    """One measured round. `lag_*` in milliseconds."""

    pages: int
    seconds: float
    pages_per_second: float
    cpu_ms_per_page: float
    store_cpu_ms_per_page: float
    lag_p50: float
    lag_p99: float
    lag_max: float
    rss_mb: float


async def watch_lag(lags: list[float]) -> None:
    """Note for ever how late this task is resumed."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(LOOK_SECONDS)
        lags.append((time.perf_counter() - began - LOOK_SECONDS) * 1000)


async def measure(bench: Bench, origin: str, *, crawls: int, number: int) -> Round:
    """Run the crawls at once and wait for all."""
    results = CrawlResults(bench.database.handle)
    executor = CrawlJobExecutor()
    executor.use(WorkerResources(results, bench.config))
    payload = CrawlPayload(start_urls=[f"{origin}/index.html"], max_bytes=MAX_BYTES)
    gc.collect()
    lags: list[float] = []
    watching = asyncio.create_task(watch_lag(lags))
    began, cpu, store = time.perf_counter(), cpu_seconds(os.getpid()), cpu_seconds(bench.mongo_pid)
    done = await asyncio.gather(*(executor.execute(Context(f"job-{number}-{n}"), payload) for n in range(crawls)))
    seconds = time.perf_counter() - began
    cpu, store = cpu_seconds(os.getpid()) - cpu, cpu_seconds(bench.mongo_pid) - store
    watching.cancel()
    assert len({str(item["pages"]) for item in done if isinstance(item, dict)}) == 1, "every crawl must find the same"
    pages = sum([(await results.counts(f"job-{number}-{n}"))["ok"] for n in range(crawls)])
    return Round(
        pages=pages,
        seconds=round(seconds, 3),
        pages_per_second=round(pages / seconds, 1),
        cpu_ms_per_page=round(cpu / pages * 1000, 3),
        store_cpu_ms_per_page=round(store / pages * 1000, 3),
        lag_p50=round(percentile(lags, 0.5), 1),
        lag_p99=round(percentile(lags, 0.99), 1),
        lag_max=round(max(lags), 1),
        rss_mb=round(psutil.Process().memory_info().rss / 1e6, 1),
    )


async def run(folder: Path, *, crawls: int, rounds: int) -> dict[str, Any]:
    """All rounds, each on empty collections."""
    measured: list[Round] = []
    async with bench_stores(crawl_allow_private=True) as bench, run_site(folder) as origin:
        for number in range(rounds):
            await bench.empty()
            measured.append(await measure(bench, origin, crawls=crawls, number=number))
    names = [name for name in asdict(measured[0]) if name != "pages"]
    return {
        "benchmark": "crawl",
        "title": f"{crawls} crawl(s) at once of {measured[0].pages // crawls} pages, median of {rounds}",
        "cpus": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "crawls": crawls,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, 1),
        "rounds": [asdict(item) for item in measured],
        **{name: median([getattr(item, name) for item in measured]) for name in names},
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crawls", type=int, default=1, help="at once, on one event loop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=find_folder(), help="the site; python3-doc by default")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    if options.folder is None:
        sys.exit("python3-doc is not installed; name another folder of HTML with --folder")
    result = asyncio.run(run(options.folder, crawls=options.crawls, rounds=options.rounds))
    labels = {
        "pages_per_second": "pages/s",
        "cpu_ms_per_page": "CPU ms/page",
        "store_cpu_ms_per_page": "MongoDB's CPU ms/page",
        "lag_p50": "loop lag p50, ms",
        "lag_p99": "loop lag p99, ms",
        "lag_max": "loop lag max, ms",
        "rss_mb": "memory after a round, MB",
    }
    rows = [
        (label, f"{result[name]:g}", ", ".join(f"{item[name]:g}" for item in result["rounds"]))
        for name, label in labels.items()
    ]
    rows.append(("peak memory, MB", f"{result['peak_rss_mb']:g}", ""))
    rows.append(("CPUs, load average", f"{result['cpus']}, {result['load_average']:g}", ""))
    report(result, rows, ("", "median", "every round"), as_json=options.json)


if __name__ == "__main__":
    main()
