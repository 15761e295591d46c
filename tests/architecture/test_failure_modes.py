"""`docs/failure-modes.md` names tests that exist, and one at least for every fault."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "failure-modes.md").read_text(encoding="utf-8")
TEST = re.compile(r"`([\w./-]+\.py)::(\w+)`")


def test_every_fault_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| fault", "| ---"))]
    assert len(rows) > 20, "the rows of docs/failure-modes.md are no longer found: mend this test"
    bare = [row for row in rows if not TEST.search(row) or row.count(" | ") != 3]
    assert bare == [], "a row of docs/failure-modes.md has four cells, the last with `file.py::test` of what shows it"


def test_every_test_that_is_named_exists() -> None:
    missing = [f"{file}::{name}" for file, name in TEST.findall(PAGE) if name not in functions_of(ROOT / file)]
    assert missing == [], "docs/failure-modes.md names tests that were renamed or removed: follow them there"


def functions_of(file: Path) -> set[str]:
    """The functions of a file; none when there is no file."""
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
