"""`docs/protocol-rules.md` names what exists: every rule, code that can be found, tests that are there."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "protocol-rules.md").read_text(encoding="utf-8")
LUA = ROOT / "packages/runtime/src/headrace/runtime/queue/lua"
RULES = [f"A{n}" for n in range(1, 10)] + [f"B{n}" for n in range(1, 16)] + [f"C{n}" for n in range(1, 16)]
HAZARDS = [*map(str, range(1, 8)), "15", *map(str, range(19, 24)), "25", "28", "29"]
TEST = re.compile(r"`([\w./-]+\.py)::(\w+)`")


def rows(title: str) -> dict[str, list[str]]:
    """The rows of the table under a title: first cell → the other cells."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]
    return {row[0]: row[1:] for row in cells}


def functions_of(file: Path) -> set[str]:
    """The test functions of a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_rule_and_every_hazard_has_a_test() -> None:
    rules, hazards = rows("Rules"), rows("Ways to lose a job")
    assert list(rules) == RULES
    assert list(hazards) == HAZARDS
    for name, cells in {**rules, **hazards}.items():
        assert TEST.search(cells[-1]), name


def test_every_test_that_is_named_exists() -> None:
    named = set(TEST.findall(PAGE))
    assert len(named) > 80
    files = {file: functions_of(ROOT / file) if (ROOT / file).is_file() else set() for file, _ in named}
    assert sorted(f"{file}::{name}" for file, name in named if name not in files[file]) == []


@pytest.mark.parametrize("rule", RULES)
def test_the_code_of_a_rule_is_where_the_page_says(rule: str) -> None:
    names = re.findall(r"`([\w./]+)`", rows("Rules")[rule][1])
    assert names
    for name in names:
        if name.startswith("lua/"):
            assert (LUA / name.removeprefix("lua/")).is_file(), name
            continue
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name
