"""What the source may not contain, because data of strangers passes through it. `docs/security.md` says why."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pymongo import MongoClient

from headrace.contracts.errors import ConfigError
from headrace.runtime.store import mongo_driver

ROOT = Path(__file__).parents[2]
SOURCES = sorted(file for place in ("packages", "services") for file in (ROOT / place).glob("*/src/**/*.py"))
SECRET = re.compile(r"token|secret|password|digest", re.IGNORECASE)
EXECUTES = {"eval", "exec", "compile", "__import__"}
UNPACKS = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}
BLOCKING = re.compile(r"\b(blpop|brpop|bzpopmin|bzpopmax|blmove|brpoplpush|blmpop|bzmpop)\b", re.IGNORECASE)
NOT_CREDENTIALS = {
    "persistent_queue.py",  # the token of a claim, which is no secret
    "batch.py",  # the digest of a body under an idempotency key, which its own sender compares
    "submit.py",
}
"""Files whose words sound like secrets and name none."""


@cache
def trees() -> tuple[tuple[str, ast.Module], ...]:
    """Every source file, parsed once."""
    return tuple((file.relative_to(ROOT).as_posix(), ast.parse(file.read_text(encoding="utf-8"))) for file in SOURCES)


def nodes() -> Iterator[tuple[str, ast.AST]]:
    """Every node of every source file, with the file's name."""
    for file, tree in trees():
        for node in ast.walk(tree):
            yield file, node


def name_of(node: ast.AST) -> str:
    """The last word of a name or attribute."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_nothing_that_came_from_outside_is_executed_or_unpickled() -> None:
    """S15: a payload, a Redis value or a document is JSON and stays data."""
    found = []
    for file, node in nodes():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in EXECUTES:
            found.append(f"{file}:{node.lineno} {node.func.id}")
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
            found += [f"{file}:{node.lineno} imports {name}" for name in names if name.split(".")[0] in UNPACKS]
    assert found == [], "S15: data of strangers must not become code; parse JSON instead"


def test_no_secret_is_compared_by_equality() -> None:
    """S2: equality stops at the first difference and tells by its time how far it came."""
    found = []
    for file, node in nodes():
        if not isinstance(node, ast.Compare) or Path(file).name in NOT_CREDENTIALS:
            continue
        parts = [node.left, *node.comparators]
        constant = any(isinstance(part, ast.Constant) for part in parts)
        equality = any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
        if equality and not constant and any(SECRET.search(name_of(part)) for part in parts):
            found.append(f"{file}:{node.lineno}")
    assert found == [], "S2: compare secrets with hmac.compare_digest"


def test_patterns_are_matched_against_whole_texts() -> None:
    """S12: `match` accepts whatever follows, and `$` a line feed."""
    found = [
        f"{file}:{node.lineno}"
        for file, node in nodes()
        if isinstance(node, ast.Call) and name_of(node.func) == "match" and isinstance(node.func, ast.Attribute)
        and (name_of(node.func.value) == "re" or name_of(node.func.value).isupper())
    ]  # fmt: skip
    assert found == [], "S12: use fullmatch"


def test_scripts_are_shipped_whole_and_never_block() -> None:
    """S18: Lua comes from the package alone, by digest; nothing waits inside Redis."""
    lua = ROOT / "packages/runtime/src/headrace/runtime/queue/lua"
    assert len(list(lua.glob("*.lua"))) > 20, "the scripts are no longer below queue/lua: mend this test"
    found = [file.name for file in lua.glob("*.lua") if BLOCKING.search(file.read_text(encoding="utf-8"))]
    callers = {
        file for file, node in nodes()
        if isinstance(node, ast.Call) and name_of(node.func) in {"eval", "evalsha", "script_load", "register_script"}
        and isinstance(node.func, ast.Attribute)
    }  # fmt: skip
    blocking = [file for file, node in nodes() if isinstance(node, ast.Call) and BLOCKING.fullmatch(name_of(node.func))]
    assert (found, blocking) == ([], []), "S18: poll with a script instead of blocking in Redis"
    assert callers == {"packages/runtime/src/headrace/runtime/queue/scripts.py"}, (
        "S18: scripts are run by queue/scripts.py alone, by digest and from the package; add a .lua file there"
    )


@pytest.mark.parametrize("option", ["compressors=zlib", "Compressors=snappy,ZLIB", "x=1&compressors=zstd%2Czlib"])
def test_zlib_is_refused_between_us_and_mongodb(option: str) -> None:
    """S19: the server's zlib was what disclosed memory to clients without a login."""
    with pytest.raises(ConfigError, match="JOB_MONGO_URL: compressors"):
        mongo_driver.connect(f"mongodb://user:canary@127.0.0.1:1/?{option}", appname="t")


def test_without_a_wish_nothing_is_compressed() -> None:
    """S19, by default."""
    with MongoClient("mongodb://127.0.0.1:1", connect=False) as client:
        assert client.options.pool_options._compression_settings.compressors == [], (
            "S19: compression towards MongoDB is off unless somebody asks for it; zlib is refused even then"
        )
