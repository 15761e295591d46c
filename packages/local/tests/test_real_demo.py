"""The demo as a newcomer sees it: real stores, the real services, the whole generated site."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headrace.local.demo_site import make_content


@pytest.mark.slow
def test_the_demo_stores_exactly_the_pages_of_its_site_and_leaves_only_its_results(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("JOB_")}
    done = subprocess.run(
        [sys.executable, "-m", "headrace.local", "demo"],
        env={**env, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    content = make_content()
    *_, where, last = done.stdout.strip().splitlines()
    assert last.startswith(f"Crawled {len(content.pages)} pages in ")
    kept = Path(where.rpartition(" ")[2])
    assert list(tmp_path.iterdir()) == [kept]
    pages = [json.loads(line) for line in kept.read_text().splitlines()]

    def paths(state: str, field: str = "url") -> list[str]:
        return sorted(urlsplit(page[field]).path for page in pages if page["state"] == state)

    # A page reached through a redirect is stored once, under whichever address came first.
    assert paths("ok", "final_url") == sorted(content.pages)
    assert paths("failed") == sorted(content.missing)
    assert paths("skipped") == sorted(content.private)
    assert len(paths("duplicate")) == len(content.redirects)
