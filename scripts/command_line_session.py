"""Run the command line against a whole system and write what it said into docs/command-line.md.

    python scripts/command_line_session.py [--check]

Ids, ports and secrets are replaced, so that two sessions differ in times and counts only. With --check the page is
compared instead of written, leaving those out; exit code 1 says that it is out of date.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from headrace.client import Client
from headrace.local.demo_site import DemoSite
from headrace.local.system import LocalSystem
from headrace.testing.eventually import eventually

PAGE = Path(__file__).resolve().parent.parent / "docs" / "command-line.md"
BEGIN, END = "<!-- session: begin -->\n", "<!-- session: end -->\n"
ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b")
FINGERPRINT = re.compile(r"\b[0-9a-f]{16,64}\b")

CHAPTERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Have jobs done, and follow them to their end",
        (
            "headrace types",
            """headrace submit noop '{"note": "hello"}' --follow""",
            """headrace submit crawl '{"start_urls": ["SITE"], "max_pages": 100}' --priority high --follow""",
            """headrace submit test.fail '{"until_attempt": 9, "message": "no such customer"}' --max-retries 1 -f""",
            "printf '{}\\n{}\\n{}\\n' | headrace submit noop --lines - --follow",
        ),
    ),
    (
        "A job that waits",
        (
            """headrace submit noop '{"note": "later"}' --delay 3600 --tag team=search""",
            "headrace status LAST",
            "headrace why LAST",
            "headrace cancel LAST",
            "headrace history LAST",
            "headrace list --tag team=search --json | head -n 6",
        ),
    ),
    (
        "See to the system",
        (
            "headrace pools",
            "headrace pools pause crawl --reason 'the site asked for a quiet hour'",
            "headrace pools resume crawl",
            "headrace dead groups",
            "headrace dead replay --dry-run",
            "headrace dead discard --yes",
            "headrace dead",
            "headrace top --once",
        ),
    ),
    (
        "When something is wrong",
        (
            "headrace submit noop '{note: hello}'",
            """headrace submit crawl '{"start_urls": [], "max_pages": "many"}'""",
            "headrace submit crawler '{}'",
            "headrace watch 01a20000-0000-7000-8000-00000000dead",
            "headrace --url http://127.0.0.1:9 list",
        ),
    ),
    ("Tokens", ("headrace token new ci --scopes submit,read --tenant acme --rate 50",)),
)


@dataclass
class Session:
    """Runs commands as a person would, and keeps what was typed and what came."""

    environment: dict[str, str]
    site: str
    stands_for: dict[str, str]
    """What is shown in place of addresses of this run."""
    ids: dict[str, str] = field(default_factory=dict)
    last: str = ""

    def run(self, command: str) -> str:
        """The command and its output, as text for the page."""
        typed = command.replace("LAST", self.last).replace("SITE", self.site)
        real = re.sub(r"(^|\| )headrace ", rf"\1{sys.executable} -m headrace.client ", typed)
        done = subprocess.run(
            ["bash", "-c", real], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
            check=False, text=True,
        )  # fmt: skip
        if "submit" in command and (found := ID.search(done.stdout)):
            self.last = found[0]
        shown = self._shown(f"$ {typed}\n{done.stdout}")
        return shown if done.returncode == 0 else f"{shown}$ echo $?\n{done.returncode}\n"

    def _shown(self, text: str) -> str:
        for real, stand_in in self.stands_for.items():
            text = text.replace(real, stand_in)
        text = ID.sub(lambda found: self._stable(found[0]), text)
        text = re.sub(r"hr_[\w-]{43}", "hr_" + "x" * 43, text)
        text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, text)
        return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"

    def _stable(self, job_id: str) -> str:
        if job_id.endswith("dead"):
            return job_id
        return self.ids.setdefault(job_id, f"01a20000-0000-7000-8000-{len(self.ids) + 1:012d}")


async def make_session() -> str:
    """The session as Markdown."""
    settings = {"JOB_TEST_MODE": "1", "JOB_CRAWL_ALLOW_PRIVATE": "1", "JOB_SHUTDOWN_GRACE_SECONDS": "2"}
    system = LocalSystem(settings=settings)
    try:
        async with DemoSite(delay_seconds=0.01) as site:
            await system.start()
            url = system.urls["scheduler"]
            await _until_types_are_known(url)
            shown = {url: "http://127.0.0.1:8080", site.url: "http://127.0.0.1:8600/"}
            kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "JOB_"))}
            session = Session({**kept, "HEADRACE_URL": url, "NO_COLOR": "1"}, site.url, shown)
            return await asyncio.to_thread(_write, session.run)
    finally:
        system.hurry()
        await system.stop()


def _write(run: Callable[[str], str]) -> str:
    chapters = []
    for title, commands in CHAPTERS:
        chapters.append(f"### {title}\n\n```console\n" + "\n".join(run(command) for command in commands) + "```\n")
    return "\n" + "\n".join(chapters) + "\n"


async def _until_types_are_known(url: str) -> None:
    async with Client(url) as client:

        async def probe() -> bool:
            return {"noop", "crawl", "test.fail"} <= {found.type for found in await client.job_types()}

        await eventually(probe, within=30, what="the job types are known")


def lasting(session: str) -> list[str]:
    """A session without what differs from run to run: times, counts, how often progress was shown."""
    lines = []
    for line in session.splitlines():
        if re.match(r"\s*\d+%  |\s{7}(queued|processing|attempt \d+ failed.*)$", line):
            continue
        text = re.sub(r"\d+(\.\d+)?( (ms|s|min|h|d)\b)?", "#", FINGERPRINT.sub("#", line))
        text = re.sub(r"(in )?# ago|in #", "#", re.sub(r"\s+", " ", text))
        lines.append(re.sub(r"#( ?/?#)*", "#", text).strip())
    return lines


def main() -> int:
    """Write the session, or compare it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    before, found, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    old, ended, after = rest.partition(END)
    if not found or not ended:
        sys.stderr.write(f"{PAGE.name} lacks the marks of the session\n")
        return 2
    new = asyncio.run(make_session())
    if not arguments.check:
        PAGE.write_text(before + BEGIN + new + END + after, encoding="utf-8")
        return 0
    difference = list(difflib.unified_diff(lasting(old), lasting(new), "the page", "this session", lineterm=""))
    sys.stderr.write("\n".join([*difference, ""]))
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
