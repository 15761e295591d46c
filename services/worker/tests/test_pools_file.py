"""`JOB_POOLS_FILE` and what is said about mistakes in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.contracts.errors import ConfigError
from headrace.worker.pools_file import Autoscale, PoolSize, load_pools_file

EXAMPLE = Path(__file__).parents[3] / "deploy" / "pools.example.toml"


def refusal(folder: Path, text: str) -> str:
    path = folder / "pools.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_pools_file(path)
    return str(caught.value)


def test_without_a_file_nothing_is_said() -> None:
    assert load_pools_file(None).pools == {}


def test_the_example_is_a_file_of_every_setting() -> None:
    pools = load_pools_file(EXAMPLE).pools
    assert pools["default"].autoscale == Autoscale()
    assert pools["crawl"].memory_limit_mb == 1024
    text = EXAMPLE.read_text(encoding="utf-8")
    for name in (*PoolSize.model_fields, *Autoscale.model_fields):
        assert name in text, name


def test_the_example_says_the_defaults_it_names(tmp_path: Path) -> None:
    commented = EXAMPLE.read_text(encoding="utf-8").replace("# [pools.native]", "[pools.native]")
    lines = [line.removeprefix("# ") if " = " in line else line for line in commented.splitlines()]
    path = tmp_path / "all.toml"
    path.write_text("\n".join(lines))
    assert load_pools_file(path).pools["native"] == PoolSize(
        slots_per_process=1, cpu_seconds=600, max_jobs_per_process=100
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[pools.crawl]\nmax_slots = -1", "[pools.crawl] max_slots: Input should be greater than or equal to 0"),
        ("[pools.crawl]\nmax_slot = 1", "[pools.crawl] max_slot: Extra inputs are not permitted"),
        ("[pools.crawl]\nmax_slots = '4'", "[pools.crawl] max_slots: Input should be a valid integer"),
        ("[pools.crawl]\nslots_per_process = 0", "[pools.crawl] slots_per_process: "),
        ("[pools.crawl]\nmin_slots = 4\nmax_slots = 2", "[pools.crawl] min_slots must not be more than max_slots"),
        (
            "[pools.a]\nmemory_limit_mb = 100\nmemory_recycle_mb = 100",
            "[pools.a] memory_recycle_mb must be less than memory_limit_mb",
        ),
        ("[pools.a.autoscale]\ntarget_seconds = 0", "[pools.a.autoscale] target_seconds: Input should be greater"),
        ("[pools.a.autoscale]\nfast = true", "[pools.a.autoscale] fast: Extra inputs are not permitted"),
        ("[pools.a]\nautoscale = 3", "[pools.a] autoscale: "),
        ("[pools.'Not A Pool']\n", "[pools.Not A Pool] "),
        ("[crawl]\nmax_slots = 3", "every pool is a table [pools.NAME]; found 'crawl' at the top"),
        ("[pools.a]\n[other]", "[other] Extra inputs are not permitted"),
        ("pools = 4", "[pools] "),
        ("[pools", "JOB_POOLS_FILE is not TOML: "),
    ],
)
def test_a_mistake_names_the_table_and_the_rule(tmp_path: Path, text: str, words: str) -> None:
    said = refusal(tmp_path, text)
    assert words in said
    assert said.startswith("JOB_POOLS_FILE")
    assert "\n" not in said


def test_every_mistake_is_named(tmp_path: Path) -> None:
    said = refusal(tmp_path, "[pools.a]\nmax_slots = -1\n[pools.b]\ncpu_seconds = 0")
    assert "[pools.a] max_slots: " in said
    assert "[pools.b] cpu_seconds: " in said


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="JOB_POOLS_FILE names a file that cannot be read: No such file"):
        load_pools_file(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_pools_file(tmp_path / "latin.toml")
