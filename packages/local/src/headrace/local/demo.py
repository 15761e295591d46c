"""`headrace-local demo`: crawl a site durably, watch it, and say what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from headrace.client import Client, NotReachableError
from headrace.client.cli.progress import ProgressView
from headrace.contracts.api import JobView
from headrace.contracts.errors import UnknownJobTypeError
from headrace.contracts.states import JobState
from headrace.local.demo_site import DemoSite
from headrace.local.foreground import say
from headrace.local.system import LocalSystem

_TYPE_KNOWN_SECONDS = 15.0


async def run_demo(system: LocalSystem, console: Console, *, url: str | None, max_pages: int) -> int:
    """Start the system, crawl `url` or a generated site, and print the result.

    Returns:
        0 when the crawl completed, else 1.

    Raises:
        HeadraceError: A part did not start or ended by itself, or the job was refused.
    """
    began = time.monotonic()
    say(console, "Starting Redis, MongoDB and the services ...")
    await system.start()
    say(console, f"Ready after {time.monotonic() - began:.1f} s, data in {system.folder}")
    for name in ("scheduler", "monitor"):
        say(console, f"  {name:10} {system.urls[name]}")
    async with contextlib.AsyncExitStack() as stack:
        if url is None:
            site = await stack.enter_async_context(DemoSite())
            url = site.url
            say(console, f"  {'site':10} {url} ({len(site.content.pages)} generated pages)")
        client = Client(system.urls["scheduler"], token=os.environ.get("HEADRACE_TOKEN"))
        await stack.enter_async_context(client)
        job = await _submit(client, {"start_urls": [url], "max_pages": max_pages})
        say(console, f"Job {job.id}: crawling {url}, at most {max_pages} pages")
        job = await _follow(system, client, job, console)
        if job.state is not JobState.COMPLETED:
            say(console, f"The job ended as {job.state}" + (f": {job.error.message}" if job.error else ""))
            return 1
        results = await _keep_pages(system, client, job)
    _report(console, job, results)
    return 0


async def _submit(client: Client, payload: dict[str, Any]) -> JobView:
    deadline = time.monotonic() + _TYPE_KNOWN_SECONDS
    while True:
        try:
            return await client.submit("crawl", payload)
        except UnknownJobTypeError:  # the worker is up, but the scheduler has not read its registration yet
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


async def _follow(system: LocalSystem, client: Client, job: JobView, console: Console) -> JobView:
    with ProgressView(console, partial(say, console)) as view:
        while not job.state.is_terminal:
            await asyncio.sleep(0.2)
            system.check_runs()
            try:
                job = await client.get(job.id)
            except NotReachableError:
                system.check_runs()  # the better explanation, if that is why
                raise
            is_over, told = job.state.is_terminal, job.progress
            if is_over or told is None:
                view.show(1.0 if is_over else 0.0, str(job.state), is_due=is_over)
            else:
                view.show(told.fraction, told.message)
    return job


async def _keep_pages(system: LocalSystem, client: Client, job: JobView) -> Path:
    """Write the pages to a file, because a temporary system takes its database with it."""
    folder = Path(tempfile.gettempdir()) if system.temporary else system.folder
    path = folder / f"headrace-pages-{job.id}.jsonl"
    lines = [json.dumps(page.model_dump(mode="json"), ensure_ascii=False) + "\n" async for page in client.pages(job.id)]
    await asyncio.to_thread(_write_new, path, "".join(lines))
    return path


def _write_new(path: Path, text: str) -> None:
    # Only a new file, and only for us: the folder for temporary files is everybody's.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _report(console: Console, job: JobView, results: Path) -> None:
    result = job.result if isinstance(job.result, dict) else {}
    pages, seconds = int(result.get("pages", 0)), float(result.get("seconds", 0))
    table = Table(title="Crawl", title_justify="left", show_header=False)
    table.add_row("pages", str(pages))
    table.add_row("failures", str(result.get("failed", 0)))
    table.add_row("skipped (robots.txt, scope, type)", str(result.get("skipped", 0)))
    table.add_row("duplicates (redirects to a page already seen)", str(result.get("duplicates", 0)))
    table.add_row("bytes", decimal(int(result.get("bytes", 0))))
    table.add_row("time", f"{seconds:.1f} s" + (f" ({pages / seconds:.0f} pages/s)" if seconds else ""))
    table.add_row("ended", "every page reached" if result.get("stopped") == "complete" else "the limit of pages")
    console.print(table)
    say(console, f"Every page with its state: {results}")
    say(console, f"Crawled {pages} pages in {seconds:.1f} s.")
