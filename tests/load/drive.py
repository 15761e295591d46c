"""Drive the load against one scheduler, let its queue run empty, and look at every job that was accepted."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from pathlib import Path

from load_figures import Figures, figures_of

from headrace.client import Client
from headrace.contracts.api import JobSummary
from headrace.testing.eventually import eventually

DRAIN_SECONDS = 60.0


async def drive(
    client: Client,
    url: str,
    folder: Path,
    *,
    seconds: int,
    users: int,
    site: str | None,
    types: set[str] | None = None,
    token: str | None = None,
) -> Figures:
    """Load it, and say how it answered and what became of the jobs.

    Args:
        client: Of the same scheduler; it looks at the jobs.
        url: Where the load goes.
        folder: For the HTML report, the facts and the log; it is emptied.
        seconds: How long.
        users: How many at once.
        site: What crawls crawl; None leaves them out.
        types: Submit these job types alone; None is all that the load knows.
        token: For the load.
    """
    tag = uuid.uuid4().hex[:8]
    code = await _locust(
        url,
        folder,
        seconds,
        users,
        HEADRACE_LOAD_RUN=tag,
        HEADRACE_LOAD_SITE=site,
        HEADRACE_LOAD_TYPES=None if types is None else ",".join(sorted(types)),
        HEADRACE_TOKEN=token,
    )
    drained = await _drain(client, tag)
    jobs = [job async for job in client.jobs(tag=f"load:{tag}")]
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return figures_of(facts, jobs, code=code, users=users, drained_seconds=drained)


async def _locust(url: str, folder: Path, seconds: int, users: int, **told: str | None) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    environment = os.environ | {"HEADRACE_LOAD_FACTS": str(folder / "facts.json")}
    environment |= {name: value for name, value in told.items() if value is not None}
    words = ("-f", str(Path(__file__).with_name("locustfile.py")), "--headless", "--only-summary", "--host", url)
    words += ("-u", str(users), "-r", str(max(1, users // 4)), "-t", f"{seconds}s", "--stop-timeout", "10")
    words += ("--html", str(folder / "report.html"), "--loglevel", "WARNING")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "locust", *words, env=environment, stdout=(folder / "locust.log").open("wb"),
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
