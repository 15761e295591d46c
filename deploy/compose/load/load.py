"""Load the scheduler of a composed system for `HEADRACE_LOAD_SECONDS`, and say how it went.

What is asked for: the job types that its workers know. The report is in /report: report.html, facts.json, locust.log,
summary.md. Exit code 0: nothing failed, nothing was answered with a 5xx, and every accepted job has ended; 1: something
did, and standard error says what.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from drive import drive
from load_figures import Figures

from headrace.client import Client
from headrace.testing.eventually import eventually

REPORT = Path("/report")
TOKEN_FILE = Path("/run/headrace/operator/token")
KNOWN_SECONDS = 60


async def load(url: str, token: str, *, seconds: int, users: int, site: str | None) -> Figures:
    """Wait for workers, load, let the queue run empty, look at every job."""
    async with Client(url, token=token) as client:

        async def types() -> set[str]:
            return {found.type for found in await client.job_types() if found.workers}

        known = await eventually(types, within=KNOWN_SECONDS, every=0.5, what="a worker says what it can do")
        return await drive(client, url, REPORT, seconds=seconds, users=users, site=site, types=known, token=token)


def main() -> int:
    """Run it."""
    env = os.environ
    token = env.get("HEADRACE_TOKEN") or TOKEN_FILE.read_text(encoding="utf-8").strip()
    figures = asyncio.run(
        load(
            env.get("HEADRACE_URL", "http://scheduler:8080"),
            token,
            seconds=int(env.get("HEADRACE_LOAD_SECONDS", "30")),
            users=int(env.get("HEADRACE_LOAD_USERS", "20")),
            site=env.get("HEADRACE_LOAD_SITE") or None,
        )
    )
    text = figures.markdown() + "".join(f"\nFAULT: {fault}" for fault in figures.faults)
    (REPORT / "summary.md").write_text(text, encoding="utf-8")
    sys.stdout.write(figures.markdown())
    for fault in figures.faults:
        sys.stderr.write(f"FAULT: {fault}\n")
    return 1 if figures.faults else 0


if __name__ == "__main__":
    sys.exit(main())
