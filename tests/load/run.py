"""Load a whole system of real stores and services, and say how it answered.

    python tests/load/run.py [--seconds 60] [--users 40] [--write]

Exit code 0: no request failed, none was answered with a 5xx, and every job that was accepted has ended. The HTML report
is `.run/load/report.html`; `--write` puts the figures into docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
import uuid
from pathlib import Path

from load_figures import Figures, figures_of, write_page

from headrace.client import Client
from headrace.contracts.api import JobSummary
from headrace.local.demo_site import DemoSite
from headrace.local.system import LocalSystem
from headrace.testing.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".run" / "load"
DRAIN_SECONDS = 60.0
SETTINGS = {"JOB_TEST_MODE": "1", "JOB_CRAWL_ALLOW_PRIVATE": "1", "JOB_SHUTDOWN_GRACE_SECONDS": "5"}
SETTINGS["JOB_MAX_WORKERS"] = "32"
"""More than the load fills: a full pool would measure how long low priority waits behind high, not the system."""


async def run(seconds: int, users: int) -> Figures:
    """Start, load, let the queue run empty, look at every job, stop."""
    tag = uuid.uuid4().hex[:8]
    system = LocalSystem(settings=SETTINGS)
    try:
        await system.start()
        url = system.urls["scheduler"]
        async with DemoSite(delay_seconds=0.005) as site, Client(url) as client:
            await _until_known(client)
            code = await _locust(url, site.url, tag, seconds, users)
            drained = await _drain(client, tag)
            jobs = [job async for job in client.jobs(tag=f"load:{tag}")]
        system.check_runs()
        facts = json.loads((FOLDER / "facts.json").read_text(encoding="utf-8"))
        return figures_of(facts, jobs, code=code, users=users, drained_seconds=drained)
    finally:
        await system.stop()


async def _until_known(client: Client) -> None:
    async def probe() -> bool:
        return {"noop", "crawl", "test.fail"} <= {found.type for found in await client.job_types()}

    await eventually(probe, within=30, what="the worker's job types are known")


async def _locust(url: str, site: str, tag: str, seconds: int, users: int) -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    environment = os.environ | {
        "HEADRACE_LOAD_RUN": tag,
        "HEADRACE_LOAD_SITE": site,
        "HEADRACE_LOAD_FACTS": str(FOLDER / "facts.json"),
    }
    words = ("-f", str(Path(__file__).with_name("locustfile.py")), "--headless", "--only-summary", "--host", url)
    words += ("-u", str(users), "-r", str(max(1, users // 4)), "-t", f"{seconds}s", "--stop-timeout", "10")
    words += ("--html", str(FOLDER / "report.html"), "--loglevel", "WARNING")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "locust", *words, env=environment, stdout=(FOLDER / "locust.log").open("wb"),
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        return await asyncio.wait_for(process.wait(), seconds + 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _drain(client: Client, tag: str) -> float | None:
    """How long it took until every job was over; None when it was not in time."""
    began = time.monotonic()

    async def probe() -> bool:
        left: list[JobSummary] = []
        for state in ("queued", "processing"):
            left += (await client.job_page(limit=1, state=state, tag=f"load:{tag}")).jobs
        return not left

    try:
        await eventually(probe, within=DRAIN_SECONDS, every=0.1, what="every job has ended")
    except AssertionError:
        return None
    return time.monotonic() - began


def main() -> int:
    """Run it, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="how long (default 60)")
    parser.add_argument("--users", type=int, default=40, help="how many at once (default 40)")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/performance.md")
    arguments = parser.parse_args()
    figures = asyncio.run(run(arguments.seconds, arguments.users))
    print(figures.markdown())
    print(f"report: {(FOLDER / 'report.html').relative_to(ROOT)}")
    for fault in figures.faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    if arguments.write and not figures.faults:
        write_page(ROOT / "docs" / "performance.md", figures)
    return 1 if figures.faults else 0


if __name__ == "__main__":
    sys.exit(main())
