"""`headrace-local` from outside: with real stores and stand-ins for the services."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.testing.eventually import eventually

DRIVER = str(Path(__file__).with_name("driver.py"))
ALL_GOOD = "good,good,good,good"


class Run:
    """One run of the command in a process of its own; its temporary files go to a folder of this test's own."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp = tmp_path / "tmp"
        self.tmp.mkdir()
        self.out = tmp_path / "out"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, modes: str, *arguments: str, terminal: int | None = None) -> None:
        env = {**os.environ, "TMPDIR": str(self.tmp), "JOB_SHUTDOWN_GRACE_SECONDS": "20", "FORCE_COLOR": "1"}
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, DRIVER, modes, *arguments],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out if terminal is None else terminal,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(60)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    @property
    def text(self) -> str:
        return self.out.read_text()

    def pids(self) -> set[int]:
        """Every process of this run but the command itself, found by its environment or its working folder."""
        marked = f"TMPDIR={self.tmp}\0".encode()
        found = set()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    # Redis writes its title over its environment, but works in its folder.
                    inside = str((folder / "cwd").readlink()).startswith(str(self.tmp.parent))
                    if inside or marked in (folder / "environ").read_bytes():
                        found.add(int(folder.name))
                except OSError:
                    continue
        return found - {self.process.pid if self.process else 0}

    async def until_ready(self) -> None:
        await eventually(lambda: "Ready after" in self.text, within=30, what="ready")
        assert len(self.pids()) == 6


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    found = Run(tmp_path)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.process.kill()
        found.process.wait()
    for pid in found.pids():
        os.kill(pid, signal.SIGKILL)


async def test_up_says_where_everything_is_and_one_ctrl_c_ends_it_in_order(run: Run, tmp_path: Path) -> None:
    run.start(ALL_GOOD, "up", "--data", str(tmp_path / "data"))
    await run.until_ready()
    for name in ("scheduler", "monitor", "worker", "recovery", "redis", "mongodb"):
        assert re.search(rf"^{name} +(http|redis|mongodb)://127\.0\.0\.1:\d+", run.text, re.MULTILINE), name
    run.signal(signal.SIGINT)
    assert run.wait() == 0
    assert run.pids() == set()
    for name in ("scheduler", "monitor", "worker", "recovery"):
        log = (tmp_path / "data" / "logs" / f"{name}.log").read_text()
        assert log.startswith("hello from good with redis://127.0.0.1:")
        assert log.endswith("stopped in order\n")
    assert (tmp_path / "data" / "mongod" / "data").is_dir()
    assert list(run.tmp.iterdir()) == []


@pytest.mark.slow
async def test_a_second_ctrl_c_does_not_wait_for_a_service_that_will_not_stop(run: Run) -> None:
    run.start("stubborn,good", "up", "--logs")
    await eventually(lambda: "Ready after" in run.text, within=30)
    assert "hello from stubborn" in run.text
    run.signal(signal.SIGINT)
    await eventually(lambda: "press Ctrl-C again" in run.text)
    assert run.process is not None
    assert run.process.poll() is None
    run.signal(signal.SIGINT)
    assert run.wait() == 0
    assert run.pids() == set()
    assert list(run.tmp.iterdir()) == []


async def test_when_the_command_is_killed_nothing_stays_and_the_next_run_removes_its_folder(run: Run) -> None:
    run.start(ALL_GOOD, "up")
    await run.until_ready()
    [left] = run.tmp.iterdir()
    run.signal(signal.SIGKILL)
    run.wait()
    await eventually(lambda: run.pids() == set())
    run.start("dies", "up")
    assert run.wait() == 1
    assert not left.exists()


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
async def test_ctrl_c_while_the_stores_start_leaves_nothing(run: Run, signals: list[int]) -> None:
    run.start(ALL_GOOD, "up")
    await eventually(lambda: "Starting" in run.text and len(run.pids()) > 0)
    for number in signals:
        run.signal(number)
    assert run.wait() == 0
    assert run.pids() == set()
    assert list(run.tmp.iterdir()) == []


async def test_a_service_that_dies_at_its_start_is_shown_with_its_last_words(run: Run) -> None:
    run.start("good,good,dies,good", "up")
    assert run.wait() == 1
    assert "Failed: worker ended with exit code 2" in run.text
    assert "JOB_SOMETHING: must be something else" in run.text
    assert "Traceback" not in run.text
    assert run.pids() == set()


@pytest.mark.slow
async def test_a_part_that_ends_later_ends_the_whole_with_its_name(run: Run) -> None:
    run.start("good,good", "up")
    await eventually(lambda: "Ready after" in run.text, within=30)
    mongod = next(pid for pid in run.pids() if b"mongod" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(mongod, signal.SIGKILL)
    assert run.wait() == 1
    assert "Failed: mongod has ended" in run.text
    assert run.pids() == set()


@pytest.mark.slow
async def test_a_folder_serves_one_system_at_a_time(run: Run, tmp_path: Path) -> None:
    run.start("good", "up", "--data", str(tmp_path / "data"))
    await eventually(lambda: "Ready after" in run.text, within=30)
    second = subprocess.run(
        [sys.executable, DRIVER, "good", "up", "--data", str(tmp_path / "data")], capture_output=True, timeout=60
    )
    assert second.returncode == 1
    assert b"in use by another running system" in second.stdout
    run.signal(signal.SIGTERM)
    assert run.wait() == 0


def test_the_demo_ends_by_itself_with_a_table_and_plain_text_where_no_terminal_is(run: Run) -> None:
    run.start(ALL_GOOD, "demo")
    assert run.wait() == 0
    assert "307 generated pages" in run.text
    assert "100%  completed" in run.text
    assert "\x1b" not in run.text
    for row in ("pages .* 2 ", "failures .* 1 ", "skipped .* 3 ", "duplicates .* 4 ", "bytes .* 2.0 kB", "every page"):
        assert re.search(row, run.text), row
    *_, where, last = run.text.strip().splitlines()
    assert last == "Crawled 2 pages in 0.5 s."
    kept = Path(where.rpartition(" ")[2])
    pages = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [page["error"] for page in pages] == [None, "x"]
    assert re.search(r"'start_urls': \['http://127.0.0.1:\d+/'\], 'max_pages': 500", pages[0]["title"])
    assert list(run.tmp.iterdir()) == [kept]
    assert run.pids() == set()


@pytest.mark.slow
def test_the_demo_keeps_its_results_beside_the_data(run: Run, tmp_path: Path) -> None:
    run.start(ALL_GOOD, "demo", "http://127.0.0.1:1/x", "--max-pages", "7", "--data", str(tmp_path / "data"))
    assert run.wait() == 0
    [kept] = (tmp_path / "data").glob("headrace-pages-*.jsonl")
    assert "'start_urls': ['http://127.0.0.1:1/x'], 'max_pages': 7" in kept.read_text()


@pytest.mark.slow
def test_on_a_terminal_a_bar_is_drawn(run: Run) -> None:
    ours, theirs = pty.openpty()
    run.start(ALL_GOOD, "demo", terminal=theirs)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(ours)
    assert run.wait() == 0
    assert b"\x1b[" in seen
    assert "━".encode() in seen
    assert b"Crawled 2 pages" in seen


def test_a_demo_job_that_fails_is_said_to_have_failed(run: Run) -> None:
    run.start("job-fails,good", "demo")
    assert run.wait() == 1
    assert "The job ended as failed: died three times" in run.text


def test_a_scheduler_that_dies_during_the_demo_is_named(run: Run) -> None:
    run.start("dies-later,good", "demo")
    assert run.wait() == 1
    assert "scheduler ended with exit code 9" in run.text


@pytest.mark.slow
async def test_ctrl_c_during_the_demo_is_an_interruption(run: Run) -> None:
    run.start("good,never-ready", "demo")
    await eventually(lambda: len(run.pids()) == 4, within=30)
    run.signal(signal.SIGINT)
    assert run.wait() == 130
    assert run.pids() == set()
    assert list(run.tmp.iterdir()) == []
