"""`docs/security.md` has a row for each requirement, with tests that exist; SECURITY.md says what it must."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
TEST = re.compile(r"`([\w./-]+\.py)::(\w+)`")


def test_every_requirement_has_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| S")]
    assert [row.split(" | ")[0] for row in rows] == [f"| S{number}" for number in range(1, 31)]
    assert [row for row in rows if not TEST.search(row)] == []


def test_every_test_that_the_page_names_exists() -> None:
    named = set(TEST.findall(PAGE))
    assert len(named) > 60
    missing = [
        f"{file}::{name}"
        for file, name in sorted(named)
        if not (ROOT / file).is_file() or f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == [], "docs/security.md names tests that were renamed or removed: follow them there"


def test_the_policy_says_what_it_must() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for words in ("## Supported versions", "## Report a vulnerability", "## Threat model", "Out of scope", "## Floors"):
        assert words in text
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / link).exists(), link
