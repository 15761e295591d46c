"""Ten crawls at once in one process, and nobody who watches it is late."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from whole import StartWhole, Whole

from headrace.runtime.queue.hints import Hints
from headrace.runtime.store.incarnations import Incarnations

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

CRAWLS = 10
PAGES = 120
HEARTBEAT_SECONDS = 1.0
LATE_SECONDS = 3.0
"""As the monitor counts: two intervals and a second."""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[str]:
    """Pages of 30 KB with forty links each, served by a process of its own; the origin."""
    folder = tmp_path / "site"
    folder.mkdir()
    for n in range(PAGES):
        links = "".join(f'<a href="/{(n * 7 + step) % PAGES}.html">{"word " * 100}</a>' for step in range(40))
        (folder / f"{n}.html").write_text(f"<html><title>{n}</title><body>{links}</body></html>")
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    found = re.search(r"port (\d+)", await asyncio.to_thread(process.stdout.readline))
    assert found is not None
    yield f"http://127.0.0.1:{found[1]}"
    process.kill()
    process.wait()
    process.stdout.close()


class Watch:
    """The oldest heartbeat and the nearest end of a lease that were seen."""

    def __init__(self, whole: Whole) -> None:
        self._hints = Hints(whole.redis, "headrace")
        self._incarnations = Incarnations(whole.database)
        self.oldest_beat_seconds = 0.0
        self.shortest_lease_seconds = 60.0
        self.slowest_cancel_seconds = 0.0

    async def look(self) -> None:
        """Look once."""
        now = datetime.now(UTC)
        ages = [(now - beat.at).total_seconds() for beat in await self._hints.heartbeats()]
        left = [(one.lease_until - now).total_seconds() for one in await self._incarnations.alive()]
        self.oldest_beat_seconds = max(self.oldest_beat_seconds, *ages)
        self.shortest_lease_seconds = min(self.shortest_lease_seconds, *left)


async def test_ten_crawls_at_once_make_no_heartbeat_late_and_no_cancel_slow(
    record_property: Callable[[str, object], None], start: StartWhole, site: str, tmp_path: Path
) -> None:
    pools = tmp_path / "pools.toml"
    pools.write_text(
        f"[pools.crawl]\nmin_slots = {CRAWLS}\nslots_per_process = {CRAWLS}\n[pools.test]\nmax_slots = 0\n"
    )
    whole = await start(
        JOB_POOLS_FILE=str(pools),
        JOB_MAX_WORKERS=str(CRAWLS + 1),
        JOB_WORKER_HEARTBEAT_SECONDS=str(HEARTBEAT_SECONDS),
    )
    watch = Watch(whole)
    jobs = [await whole.client.submit("crawl", {"start_urls": [f"{site}/0.html"]}) for _ in range(CRAWLS)]
    states: list[str] = []
    cancelled_at = 0.0
    most = 0
    while states.count("completed") < CRAWLS - 1 or "cancelled" not in states:
        await asyncio.sleep(0.2)
        await watch.look()
        states = [await whole.state(job.id) for job in jobs]
        most = max(most, states.count("processing"))
        assert "failed" not in states
        if not cancelled_at and most == CRAWLS:
            cancelled_at = time.monotonic()
            await whole.client.cancel(jobs[0].id)
            await whole.until_state(jobs[0].id, "cancelled", within=10)
            watch.slowest_cancel_seconds = time.monotonic() - cancelled_at
    assert most == CRAWLS, "all ran at once"
    record_property("oldest_beat_seconds", round(watch.oldest_beat_seconds, 2))
    record_property("shortest_lease_seconds", round(watch.shortest_lease_seconds, 2))
    record_property("cancel_seconds", round(watch.slowest_cancel_seconds, 2))
    assert len(whole.children("crawl")) == 1
    assert watch.oldest_beat_seconds < LATE_SECONDS
    assert watch.shortest_lease_seconds > 1.0, "of four"
    assert "child.silent" not in (whole.system.folder / "logs" / "worker.log").read_text()
    for job in jobs[1:]:
        done = await whole.document(job.id)
        assert (done["attempt"], json.loads(done["result"])["pages"]) == (1, PAGES)
