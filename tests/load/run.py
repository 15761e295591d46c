"""Load a whole system of real stores and services, and say how it answered.

    python tests/load/run.py [--seconds 60] [--users 40] [--write]

Exit code 0: no request failed, none was answered with a 5xx, and every job that was accepted has ended. The HTML report
is `.run/load/report.html`; `--write` puts the figures into docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from drive import drive
from load_figures import Figures, write_page

from headrace.client import Client
from headrace.local.demo_site import DemoSite
from headrace.local.system import LocalSystem
from headrace.testing.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".run" / "load"
SETTINGS = {"JOB_TEST_MODE": "1", "JOB_CRAWL_ALLOW_PRIVATE": "1", "JOB_SHUTDOWN_GRACE_SECONDS": "5"}
SETTINGS["JOB_MAX_WORKERS"] = "32"
"""More than the load fills: a full pool would measure how long low priority waits behind high, not the system."""


async def run(seconds: int, users: int) -> Figures:
    """Start, load, let the queue run empty, look at every job, stop."""
    system = LocalSystem(settings=SETTINGS)
    try:
        await system.start()
        url = system.urls["scheduler"]
        async with DemoSite(delay_seconds=0.005) as site, Client(url) as client:
            await _until_known(client)
            figures = await drive(client, url, FOLDER, seconds=seconds, users=users, site=site.url)
        system.check_runs()
        return figures
    finally:
        await system.stop()


async def _until_known(client: Client) -> None:
    async def probe() -> bool:
        return {"noop", "crawl", "test.fail"} <= {found.type for found in await client.job_types()}

    await eventually(probe, within=30, what="the worker's job types are known")


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
