"""`docs/security.md` has a row for each requirement, with tests that exist; SECURITY.md says what it must."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
TEST = re.compile(r"`([\w./-]+\.py)::(\w+)`")


def test_every_requirement_has_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| S")]
    assert [row.split(" | ")[0] for row in rows] == [f"| S{number}" for number in range(1, 31)], (
        "docs/security.md has one row for each of S1 to S30, in order"
    )
    assert [row for row in rows if not TEST.search(row)] == [], (
        "a requirement without a test is a wish: name `file.py::test` of one that fails without it"
    )


def test_every_test_that_the_page_names_exists() -> None:
    named = set(TEST.findall(PAGE))
    assert len(named) > 60, "the tests of docs/security.md are no longer found: mend TEST in this file"
    missing = [
        f"{file}::{name}"
        for file, name in sorted(named)
        if not (ROOT / file).is_file() or f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == [], "docs/security.md names tests that were renamed or removed: follow them there"


def test_the_policy_says_what_it_must() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for words in ("## Supported versions", "## Report a vulnerability", "## Threat model", "Out of scope", "## Floors"):
        assert words in text, f"SECURITY.md lacks {words!r}: who finds a hole looks for it there"
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / link).exists(), f"SECURITY.md links {link}, which is not there: follow what was moved"
