"""Every block of code in the pages is run by a test, or says before it why not.

A test that runs a page's blocks reads them out of the page, so they cannot part. Where a block cannot be run by a test,
the page says so in a comment on the line before it: `<!-- not run: WHY -->`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from headrace.worker.crawler.payload import CrawlPayload

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/*.md")])
BLOCK = re.compile(r"(?:<!-- not run: (?P<why>[^>]+?) -->\n+)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
MAKE = re.compile(r"^make ([a-z-]+)", re.MULTILINE)
COMMANDS = "tests/integration/test_page_commands.py"
RUN_BY = {
    ("README.md", "mermaid"): "tests/architecture/test_site.py::test_no_page_of_the_site_leads_out_of_it",
    ("README.md", "sh"): f"{COMMANDS}::test_the_request_of_the_readme_is_accepted",
    ("docs/client.md", "python"): "packages/client/tests/test_client_page.py::page",
    ("docs/command-line.md", "console"): "packages/client/tests/test_command_line_page.py::"
    "test_the_session_of_the_page_is_what_the_commands_say_today",
    ("docs/crawler.md", "json"): "tests/architecture/test_snippets.py::test_the_payload_of_the_crawler_is_one",
    ("docs/getting-started.md", "sh"): "tests/integration/test_getting_started.py::"
    "test_the_commands_of_the_page_do_what_it_says",
    ("docs/operations.md", "sh"): f"{COMMANDS}::test_the_check_of_operations_tells_what_it_compared",
    ("docs/protocol-rules.md", "sh"): f"{COMMANDS}::test_the_commands_of_the_protocol_explore",
    ("docs/redis-keys.md", "acl"): "packages/runtime/tests/queue/test_servers.py::"
    "test_the_documented_rights_are_enough",
    ("docs/simulation.md", "sh"): f"{COMMANDS}::test_the_commands_of_the_simulation_run_schedules",
    ("docs/state-machine.md", "mermaid"): "packages/contracts/tests/test_states.py::",
    ("docs/write-an-executor.md", "python"): "packages/testing/tests/test_write_an_executor.py::page",
    ("docs/write-an-executor.md", "toml"): "packages/testing/tests/test_write_an_executor.py::"
    "test_the_entry_point_names_the_class_of_its_job_type",
    ("docs/write-an-executor.md", "text"): "packages/testing/tests/test_write_an_executor.py::"
    "test_the_failure_of_the_page_is_what_its_executor_gives",
    ("docs/write-an-executor.md", "sh"): f"{COMMANDS}::test_the_payloads_of_what_waits_are_checked",
}  # fmt: skip
"""Page and language → the test (or its fixture) that takes these blocks out of the page and runs them."""


def blocks() -> list[tuple[str, str, str | None, str]]:
    """Page, language, why it is not run, code: of every block of every page."""
    return [
        (page.relative_to(ROOT).as_posix(), found["language"], found["why"], found["code"])
        for page in PAGES
        for found in BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def test_every_block_is_run_by_a_test_or_says_why_not() -> None:
    found = blocks()
    assert len(found) > 25, "the pages' blocks are no longer found: mend BLOCK in this file"
    bare = [
        f"{page}: {code.splitlines()[0]}" for page, kind, why, code in found if not why and (page, kind) not in RUN_BY
    ]
    assert bare == [], (
        "every block of a page is run by a test: add page and language to RUN_BY with the test that reads the page, or"
        " write <!-- not run: WHY --> before the block"
    )


@pytest.mark.parametrize(("page", "language"), RUN_BY, ids=" ".join)
def test_what_is_said_to_run_a_page_reads_it(page: str, language: str) -> None:
    file, _, name = RUN_BY[page, language].partition("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    assert f"def {name}" in text, f"RUN_BY names {name}, which {file} no longer has: name the test that runs {page}"
    assert Path(page).name in text or "test_site" in file, (
        f"{file} does not name {page}: the test must read the blocks out of the page, so that they cannot part"
    )
    assert any((page, language) == (where, kind) for where, kind, why, _ in blocks() if not why), (
        f"{page} has no block of {language} any more: remove its line from RUN_BY"
    )


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {(page, target) for page, _, _, code in blocks() for target in MAKE.findall(code)}
    named |= {
        (page.name, target) for page in PAGES for target in re.findall(r"`make ([a-z0-9-]+)`", page.read_text("utf-8"))
    }
    lost = sorted(f"{page}: make {target}" for page, target in named if target not in targets)
    assert lost == [], "these commands are in no Makefile: follow the target that was renamed, or remove the line"


def test_the_payload_of_the_crawler_is_one() -> None:
    """docs/crawler.md"""
    (code,) = [code for page, kind, _, code in blocks() if (page, kind) == ("docs/crawler.md", "json")]
    assert CrawlPayload.model_validate(json.loads(code)).max_pages > 0
