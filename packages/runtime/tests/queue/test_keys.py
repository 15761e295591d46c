"""Keys, scripts and their documentation agree."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis_harness import POOL, RedisHarness

from headrace.runtime.queue import Keys, RedisJobQueue, scripts
from headrace.runtime.queue.keys import PoolKeys

ROOT = Path(__file__).parents[4]
RUNTIME = ROOT / "packages" / "runtime"
LUA = RUNTIME / "src" / "headrace" / "runtime" / "queue" / "lua"


def every_name() -> set[str]:
    """Each key and channel as the documentation writes it."""
    keys = Keys("headrace")
    pool = keys.pool("pool")
    names = {getattr(pool, name) for name, value in vars(PoolKeys).items() if isinstance(value, property)}
    names |= {getattr(keys, name) for name, value in vars(Keys).items() if isinstance(value, property)}
    return (
        names
        | {pool.claim("token").replace("token", "<token>"), keys.wake("pool").replace(":pool", ":<pool>")}
        | {keys.rate("<bucket>")}
    )


def test_the_documentation_lists_every_key_and_no_other() -> None:
    """A row of a table per key."""
    text = (ROOT / "docs" / "redis-keys.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(headrace:[^`]+)` \|", text, re.MULTILINE))
    assert documented == every_name()


def test_the_documentation_lists_every_script() -> None:
    """By its name, in the column of who writes."""
    text = (ROOT / "docs" / "redis-keys.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)) == set(scripts.names())


async def test_every_key_in_use_is_documented(harness: RedisHarness, redis: Redis, namespace: str) -> None:
    """What a run of the verbs leaves in Redis."""
    queue = harness.queue
    await harness.waiting()
    await harness.take(token="t1", count=1)
    await harness.waiting()
    await harness.waiting(due_in_ms=60_000)
    await queue.reserve(POOL, harness.new_ids(1), limit=10)
    await queue.settle(POOL, [await harness.waiting()])
    await queue.pause(POOL, True, "x")
    await queue.begin_rebuild(POOL)
    keys = Keys(namespace).pool(POOL)
    known = {getattr(keys, name) for name, value in vars(PoolKeys).items() if isinstance(value, property)}
    assert {key async for key in redis.scan_iter(match=f"{namespace}*")} == known | {keys.claim("t1")}


def test_the_keys_of_a_pool_share_a_hash_tag() -> None:
    """Else a script could not touch them all on a cluster."""
    keys = Keys("ns").pool("crawl")
    names = [getattr(keys, name) for name, value in vars(PoolKeys).items() if isinstance(value, property)]
    assert all(name.startswith("ns:{crawl}:") for name in [*names, keys.claim("t")])


@pytest.mark.parametrize("pool", ["", "A", "a{b}", "a b", "-a", "x" * 61, "a\n"])
def test_a_pool_name_that_would_break_a_key_is_refused(pool: str) -> None:
    """It goes into a hash tag."""
    with pytest.raises(ValueError, match="pool must match"):
        Keys("ns").pool(pool)
    with pytest.raises(ValueError, match="pool must match"):
        Keys("ns").wake(pool)


@pytest.mark.parametrize("namespace", ["", "a b", "{x}", "x" * 61])
def test_a_namespace_that_would_break_a_key_is_refused(namespace: str) -> None:
    """It begins every key."""
    with pytest.raises(ValueError, match="namespace must match"):
        Keys(namespace)


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_has_the_header_form(name: str) -> None:
    """Shebang, purpose, keys, arguments, returns, callers; each key and argument that is used is explained."""
    text = (LUA / f"{name}.lua").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert re.fullmatch(r"#!lua( flags=(allow-oom|no-writes))?", lines[0])
    assert lines[1].startswith(f"-- {name}: ")
    header = "\n".join(line for line in lines if line.startswith("--"))
    assert "-- Returns " in header
    assert "-- Callers: " in header
    assert "flags=no-writes" in lines[0] or "-- Keeps: " in header
    for used in set(re.findall(r"KEYS\[\d\]", text)):
        assert used in header
    assert len(lines) <= 90
    assert scripts.load(name).source.startswith(lines[0] + "\n")
    assert "-- include:" not in scripts.load(name).source


@pytest.mark.parametrize("name", scripts.names())
async def test_a_script_compiles(redis: Redis, name: str) -> None:
    """On both servers, to the digest that it is called by."""
    script = scripts.load(name)
    assert await redis.script_load(script.source) == script.sha


def test_only_claiming_and_draining_scripts_run_on_a_full_server() -> None:
    """What adds is refused before it starts."""
    without = {name for name in scripts.names() if scripts.load(name).source.startswith("#!lua\n")}
    assert without == {"adopt", "anchor", "announce", "enqueue", "refill", "reserve"}


async def test_no_verb_uses_a_command_that_stalls_the_server(queue: RedisJobQueue, redis: Redis) -> None:
    """Hazard 25: no KEYS, whatever was called in this session."""
    await queue.depths(POOL)
    stats = await redis.info("commandstats")
    assert "cmdstat_evalsha" in stats
    assert "cmdstat_keys" not in stats


@pytest.mark.slow
def test_the_wheel_carries_the_scripts(tmp_path: Path) -> None:
    """An installed package has them all."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=RUNTIME,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".lua")}
    assert packed == {file.name for file in LUA.glob("*.lua")}
