"""Every member of the workspace is a distribution of its own: it declares what it imports, and imports downwards."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MEMBERS = {
    path.parent.name: path.parent
    for folder in ("packages", "services")
    for path in sorted(ROOT.glob(f"{folder}/*/pyproject.toml"))
}
SERVICES = {"scheduler", "worker", "recovery", "monitor"}
MAY_IMPORT: dict[str, set[str]] = {
    "contracts": set(),
    "runtime": {"contracts"},
    "client": {"contracts"},
    "testing": {"contracts"},
    "local": {"contracts", "runtime", "client"},
    **{service: {"contracts", "runtime"} for service in SERVICES},
}


@cache
def project(member: str) -> dict[str, Any]:
    """The `[project]` table of a member."""
    return dict(tomllib.loads((MEMBERS[member] / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def normal(name: str) -> str:
    """A distribution's name as packaging compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(member: str) -> set[str]:
    """The distributions that a member declares, those of its extras included."""
    lines = list(project(member).get("dependencies", []))
    lines += [line for extra in project(member).get("optional-dependencies", {}).values() for line in extra]
    return {normal(re.split(r"[\[\s<>=!~;]", line, maxsplit=1)[0]) for line in lines}


def imported(member: str) -> dict[str, set[str]]:
    """Modules that a member imports (`headrace.x` or a top-level name) → the files that do."""
    found: dict[str, set[str]] = {}
    for file in (MEMBERS[member] / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file} imports relatively: write headrace.{member}.… in full"
                names = [node.module or ""]
            for name in names:
                parts = name.split(".")
                found.setdefault(".".join(parts[:2]) if parts[0] == "headrace" else parts[0], set()).add(file.name)
    return {name: files for name, files in found.items() if name.split(".")[0] not in sys.stdlib_module_names}


def test_all_members_are_known() -> None:
    assert set(MEMBERS) == set(MAY_IMPORT), (
        "a member was added or removed: say in MAY_IMPORT which members it may import, and name it in the layers of"
        " pyproject.toml and in docs/architecture.md"
    )


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_is_named_after_its_folder_and_owns_one_portion_of_the_namespace(member: str) -> None:
    source = MEMBERS[member] / "src" / "headrace"
    assert project(member)["name"] == f"headrace-{member}", "a distribution is called headrace-FOLDER: rename either"
    assert [path.name for path in source.iterdir() if path.name != "__pycache__"] == [member], (
        f"{source} holds the one package {member}: headrace is shared by all members and has no __init__.py"
    )
    assert (source / member / "py.typed").is_file(), f"add an empty {source / member}/py.typed: our types are public"


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_imports_only_what_lies_below_it(member: str) -> None:
    others = {name.split(".")[1] for name in imported(member) if name.startswith("headrace.")} - {member}
    upwards = {
        f"{member} imports headrace.{other} in {', '.join(sorted(imported(member)[f'headrace.{other}']))}"
        for other in others - MAY_IMPORT[member]
    }
    assert upwards == set(), (
        "imports point down, services -> runtime -> contracts: move what both need into contracts (pure) or runtime"
    )


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_declares_every_distribution_it_imports(member: str) -> None:
    distributions = packages_distributions()
    missing = {}
    for name, files in imported(member).items():
        if name == f"headrace.{member}":
            continue
        wanted = {name.replace(".", "-")} if name.startswith("headrace.") else {
            normal(item) for item in distributions.get(name, [name])
        }  # fmt: skip
        if not wanted & declared(member):
            missing[name] = files
    assert missing == {}, (
        f"{member} imports these without declaring them: add them to its pyproject.toml, then make lock"
    )


def test_the_contracts_need_nothing_but_pydantic() -> None:
    why = "the contracts are what executors of others depend on: they need pydantic and nothing else"
    assert set(imported("contracts")) == {"headrace.contracts", "pydantic"}, why
    assert declared("contracts") <= {"pydantic"}, why


@pytest.mark.parametrize(
    ("module", "owner"),
    [
        ("redis", "runtime/queue/"),
        ("pymongo", "runtime/store/"),
        ("bson", "runtime/store/"),
        ("motor", "runtime/store/mongo_driver.py"),
        ("dramatiq", "worker/"),
    ],
)
def test_each_store_and_the_runner_are_spoken_in_one_place(module: str, owner: str) -> None:
    """The embedded MongoDB prepares its own replica set, which nobody else does."""
    speakers = set()
    for folder in MEMBERS.values():
        for file in (folder / "src").rglob("*.py"):
            if re.search(rf"^\s*(?:import|from) {module}\b", file.read_text(encoding="utf-8"), re.MULTILINE):
                speakers.add(file.relative_to(folder / "src" / "headrace").as_posix())
    strangers = {name for name in speakers if not name.startswith(owner)} - {"local/mongo_server.py"}
    assert speakers, f"nobody imports {module} any more: remove its line from this test"
    assert strangers == set(), (
        f"{module} is spoken below {owner} alone, where its errors become ours: give what you need a method there"
    )


def test_the_linter_of_the_workspace_holds_the_same_rules() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    assert settings["include_external_packages"] is True, "without it the contracts on redis, pymongo, … say nothing"
    kinds = {contract["id"]: contract["type"] for contract in settings["contracts"]}
    assert kinds == {
        "layers": "layers",
        "client": "forbidden",
        "local": "forbidden",
        "contracts": "forbidden",
        "redis": "protected",
        "mongodb": "protected",
        "motor": "protected",
        "dramatiq": "protected",
        "runtime": "forbidden",
    }, "a contract of [tool.importlinter] was removed or is new: say so here, and in test_members.py what it means"
