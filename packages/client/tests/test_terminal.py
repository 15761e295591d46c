"""The command line as a program: on a terminal, in a pipe, interrupted, and completed by a shell."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.client.cli.options import complete_job, complete_pool, complete_type

pytestmark = pytest.mark.slow

COMMAND = (sys.executable, "-m", "headrace.client")


class Terminal:
    """A program on a terminal of 120 columns and 40 lines."""

    def __init__(self, words: tuple[str, ...], environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, *words], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**environment, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def until(self, pattern: str, within: float = 60.0) -> None:
        """Read until the pattern was printed."""
        deadline = time.monotonic() + within
        while not re.search(pattern, self.seen):
            assert time.monotonic() < deadline, self.seen[-3000:]
            if not self._read():
                assert re.search(pattern, self.seen), self.seen[-3000:]

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        return self.process.wait(timeout=20)

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 0.1)[0]:
            return self.process.poll() is None
        try:
            found = os.read(self._master, 65536)
        except OSError:  # the other side has closed it
            return False
        self.seen += found.decode(errors="replace")
        return bool(found)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal(services: Any) -> Iterator[Any]:
    opened: list[Terminal] = []

    def open_one(*words: str) -> Terminal:
        opened.append(Terminal(words, services.environment))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def test_following_draws_a_bar_that_moves(terminal: Any, headrace: Any) -> None:
    shown = terminal("submit", "test.steps", '{"steps": 400, "seconds": 0.05}', "--follow")
    shown.until(r"━.*\d%.* \d+ of 400 steps")
    headrace("cancel", re.search(r"job (\S+)", shown.seen)[1])
    assert shown.end() == 1
    assert "cancelled after" in shown.seen


def test_top_is_live_and_ends_with_q(terminal: Any, headrace: Any) -> None:
    screen = terminal("top", "--interval", "0.2")
    screen.until("every 0.2 s, q ends")
    job = headrace("submit", "test.steps", '{"steps": 400, "seconds": 0.05}').stdout.strip()
    screen.until(rf"{job}.*of 400 steps")
    screen.type("q")
    assert screen.end() == 0
    assert "\x1b[?1049l" in screen.seen, "the screen that was there before is back"
    headrace("cancel", job)


def test_many_from_a_file_draw_a_bar_and_a_question_waits_for_an_answer(
    terminal: Any, headrace: Any, tmp_path: Any
) -> None:
    file = tmp_path / "jobs"
    file.write_text('{"how": "permanent"}\n' * 3)
    many = terminal("submit", "test.fail", "--lines", str(file), "--follow")
    assert many.end() == 1
    assert "3 of 3 jobs" in many.seen
    no = terminal("dead", "discard", "--type", "test.fail")
    no.until(r"Discard \d+ dead letters\?")
    no.type("n\n")
    assert no.end() == 2
    yes = terminal("dead", "discard", "--type", "test.fail")
    yes.until(r"\[y/N\]")
    yes.type("y\n")
    assert yes.end() == 0
    assert "0 refused" in yes.seen


def test_an_interrupt_ends_watching_and_not_the_job(services: Any, headrace: Any) -> None:
    job = headrace("submit", "noop", "--delay", "3600").stdout.strip()
    watching = subprocess.Popen(
        [*COMMAND, "watch", job], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=services.environment, text=True
    )
    assert watching.stdout is not None
    assert "queued" in watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=20)
    assert watching.returncode == 130
    assert "Traceback" not in errors
    assert headrace.json("cancel", job)["state"] == "cancelled"


def test_a_reader_that_has_enough_is_no_failure(services: Any, headrace: Any) -> None:
    headrace("submit", "noop", "--lines", "-", stdin="{}\n" * 60)
    for more in ("--json", "-n200"):
        piped = f"{sys.executable} -m headrace.client list -n 200 {more} | head -n 1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", piped], env=services.environment, capture_output=True, text=True, timeout=30, check=True
        )
        assert done.stdout.splitlines()[-1] == "0"
        assert done.stderr == ""


def test_a_shell_completes_commands_and_what_the_server_knows(
    services: Any, headrace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"_HEADRACE_COMPLETE": "complete_bash", "COMP_WORDS": "headrace sub", "COMP_CWORD": "1"}
    done = subprocess.run(
        COMMAND, env=services.environment | asked, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.split() == ["submit"]
    monkeypatch.setenv("HEADRACE_URL", services.url)
    job = headrace("submit", "noop").stdout.strip()
    assert complete_type("test.s") == ["test.sleep", "test.steps"]
    assert complete_pool("cr") == ["crawl"]
    assert job in complete_job("")
    monkeypatch.setenv("HEADRACE_URL", "http://127.0.0.1:9")
    assert complete_type("") == []


def test_without_its_extra_the_command_says_how_to_get_it(tmp_path: Any) -> None:
    (tmp_path / "typer.py").write_text("raise ImportError")
    done = subprocess.run(
        COMMAND, env=dict(os.environ) | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "headrace-client[cli]" in done.stderr
