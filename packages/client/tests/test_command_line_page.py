"""The page on the command line is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from headrace.client.cli.app import app
from headrace.client.cli.problems import ExitCode

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")


def test_every_command_stands_in_the_table_and_no_other() -> None:
    table = PAGE.split("| command | does |")[1].split("\n\n")[0]
    commands: Any = get_command(app)
    assert re.findall(r"^\| `(\w+)", table, re.MULTILINE) != []
    assert set(re.findall(r"^\| `(\w+)", table, re.MULTILINE)) == set(commands.commands)
    for name, found in commands.commands.items():
        for inner in getattr(found, "commands", {}):
            assert f"`{name} {inner}" in table


def test_every_exit_code_stands_in_the_table_and_no_other() -> None:
    table = PAGE.split("| exit code | means |")[1].split("\n\n")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) ", table, re.MULTILINE)} == set(map(int, ExitCode))


@pytest.mark.slow
def test_the_session_of_the_page_is_what_the_commands_say_today() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "command_line_session.py"), "--check"],
        capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
