"""What the documentation site is made of: every page is in it, its tables are today's, its pictures are understood."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.contracts.errors import API_ERRORS
from headrace.contracts.events import EventName

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs/decisions"
PAGE = (ROOT / "docs/http-api.md").read_text(encoding="utf-8")
ONLY_OF_STREAMS = {"job.snapshot", "job.gap"}


@pytest.fixture(scope="module")
def site() -> Iterator[Any]:
    """The modules that make the site's pages; they need nothing but Python."""
    sys.path.insert(0, str(ROOT / "scripts/site"))
    try:
        import api_page
        import diagrams
        import stage

        yield SimpleNamespace(api_page=api_page, diagrams=diagrams, stage=stage)
    finally:
        sys.path.remove(str(ROOT / "scripts/site"))


@pytest.fixture(scope="module")
def staged(site: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "pages"
    site.stage.stage(folder)
    return folder


def test_every_page_is_in_the_navigation(site: Any, staged: Path) -> None:
    trees = re.findall(r"```\{toctree\}.*?\n\n(.*?)\n```", (staged / "index.md").read_text(), re.DOTALL)
    named = {name for tree in trees for name in tree.splitlines()}
    pages = {name.removesuffix(".md") for _, name in site.stage.pages() if not re.match(r"decisions/\d|index", name)}
    assert named == pages | {"http-api-reference"}, "docs/index.md links every page once, in the section it belongs to"


def test_every_decision_is_in_the_list_of_decisions() -> None:
    listed = re.findall(
        r"^\| \[(\d+)\]\((\S+)\) \| (.+) \|$", (DECISIONS / "README.md").read_text("utf-8"), re.MULTILINE
    )
    wanted = []
    for file in sorted(DECISIONS.glob("0*.md")):
        title = file.read_text("utf-8").partition("\n")[0]
        wanted.append((file.name[:4], file.name, re.sub(r"^# \d+\.? ", "", title)))
    assert listed == wanted, "docs/decisions/README.md has a row for each decision: number, file, title"


def test_no_page_of_the_site_leads_out_of_it(staged: Path) -> None:
    lost = []
    for page in staged.rglob("*.md"):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for link in re.findall(r"(?<!`)\[[^\]]*\]\(([^)#\s]+)", text):
            if not re.match(r"[a-z]+:", link) and not (page.parent / link).resolve().is_relative_to(staged.resolve()):
                lost.append(f"{page.name}: {link}")
            elif not re.match(r"[a-z]+:", link) and not (page.parent / link).exists():
                lost.append(f"{page.name}: {link} is not there")
    assert lost == [], "scripts/site/stage.py rewrites every link to a page or a copy; it missed these"


def test_every_operation_and_model_of_the_api_has_its_place(site: Any, staged: Path) -> None:
    document = json.loads((ROOT / "services/scheduler/openapi.json").read_text())
    titles = re.findall(r"^### (.+)$", (staged / "http-api-reference.md").read_text(), re.MULTILINE)
    operations = [f"{verb.upper()} {path}" for path, verbs in document["paths"].items() for verb in verbs]
    wanted = sorted([*operations, *document["components"]["schemas"]])
    assert sorted(titles) == wanted, "scripts/site/api_page.py leaves out or repeats something of openapi.json"


def test_the_table_of_errors_is_the_contracts() -> None:
    rows = set(re.findall(r"^\| `([\w-]+)` \| (\d+) \| (.+) \|$", PAGE, re.MULTILINE))
    wanted = {(error.code, str(error.status), error.title) for error in API_ERRORS}
    assert rows == wanted, "docs/http-api.md and headrace.contracts.errors name other errors: follow the contracts"


def test_the_table_of_events_is_the_contracts() -> None:
    rows = set(re.findall(r"^\| `(job\.\w+)` \|", PAGE, re.MULTILINE))
    wanted = set(EventName) | ONLY_OF_STREAMS
    assert rows == wanted, "docs/http-api.md and headrace.contracts.events name other events: follow the contracts"


def test_a_type_is_told_with_its_limits(site: Any) -> None:
    told = site.api_page._type({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": 3})
    assert told == "integer, ≥ 1 or null, default `3`"
    assert site.api_page._type({"type": "array", "items": {"$ref": "#/x/JobView"}}) == "list of [JobView](#jobview)"
    assert site.api_page._cell("a|b\n c") == "a\\|b c"


def test_a_diagram_shows_every_node_edge_and_label(site: Any) -> None:
    source = 'flowchart LR\n%% place: a 0 0\n%% place: b 1 0\n%% place: c 1 1\na([one<br/>two]) -- "go" --> b & c\n'
    drawn = site.diagrams.svg(source)
    assert (drawn.count("<rect"), drawn.count("<line"), drawn.count(">go<")) == (3, 2, 2)
    assert ">one<" in drawn
    assert ">two<" in drawn
    assert "\n\n" not in drawn


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("sequenceDiagram\n", "draws no"),
        ("stateDiagram-v2\n%% place: a 0 0\na --> b: go\n", "place: NAME COLUMN ROW' for b"),
        ("flowchart LR\n%% place: a 0 0\na ==> b\n", "does not know: a ==> b"),
    ],
)
def test_a_diagram_that_is_not_understood_is_refused(site: Any, source: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        site.diagrams.svg(source)
