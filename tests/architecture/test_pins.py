"""The pins of the images keep to the committed policy, and the bills of materials name them all."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packageurl import PackageURL

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/pins.py"
HASH = "sha256:" + "0" * 64
POLICY: dict[str, Any] = {
    "licences": ["MIT"],
    "refused": ["nice==1.5"],
    "floors": {"nice": ["1.2", "CVE-1"]},
    "reviewed": {"nice": "MIT", "copyleft": "GPL-3.0-only", "aiohttp": "MIT"},
}


@pytest.fixture(scope="module")
def pins() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pins", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pins"] = module
    spec.loader.exec_module(module)
    return module


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)


def test_the_pins_keep_to_the_policy() -> None:
    done = run("audit")
    assert done.returncode == 0, (
        f"{done.stdout}look at the distribution, then change requirements/policy.toml (a licence, a floor) or the pin"
    )
    assert "0 faults" in done.stdout


def test_every_floor_says_why_and_how_it_was_verified() -> None:
    policy = tomllib.loads((ROOT / "requirements/policy.toml").read_text(encoding="utf-8"))
    bare = [name for name, floor in policy["floors"].items() if len(floor) != 3 or not all(floor)]
    assert bare == [], "a floor is [version, why, how the version was verified]: somebody must be able to check it"
    unused = policy["floors"].keys() - policy["reviewed"].keys()
    assert unused == set(), "no image has these any more: remove their floors"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"nice==1.3 --hash={HASH}", None),
        (f"Nice[extra]==1.3 ; python_version < '3.12' --hash={HASH} --hash={HASH}", None),
        (f"stranger==1 --hash={HASH}", "nobody has reviewed it"),
        (f"copyleft==1 --hash={HASH}", "GPL-3.0-only is not in licences"),
        (f"nice==1.5 --hash={HASH}", "refused"),
        (f"nice==1.1.9 --hash={HASH}", "at least 1.2 is needed: CVE-1"),
        ("nice==1.3", "no sha256 hash"),
        ("nice==1.3 --hash=md5:00", "no sha256 hash"),
    ],
)
def test_each_fault_is_named(pins: ModuleType, line: str, words: str | None) -> None:
    found = list(pins.faults(list(pins.read(line)), POLICY))
    assert [words in fault for fault in found] == ([True] if words else [])


def test_a_licence_that_the_distribution_denies_is_a_fault(pins: ModuleType) -> None:
    from importlib.metadata import version

    pin = pins.Pin("nice", "1", (HASH,))
    assert pins.told_licence(pin) == set()
    real = pins.Pin("dramatiq", version("dramatiq"), (HASH,))
    assert list(pins.faults([real], POLICY | {"reviewed": {"dramatiq": "MIT"}})) == [
        f"dramatiq {real.version}: it says LGPL-3.0-or-later, and [reviewed] says MIT"
    ]


def test_what_is_no_pin_is_refused(pins: ModuleType) -> None:
    with pytest.raises(ValueError, match="no pin: nice>=1"):
        list(pins.read("nice>=1"))


def test_a_bill_of_materials_names_every_pin_with_its_hash(pins: ModuleType, tmp_path: Path) -> None:
    assert run("sbom", str(tmp_path)).returncode == 0
    for service in pins.SERVICES:
        bill = json.loads((tmp_path / f"headrace-{service}.cdx.json").read_text())
        wanted = list(pins.read((ROOT / f"requirements/{service}.txt").read_text()))
        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
        named = {part["name"]: part for part in bill["components"]}
        assert named.keys() == {pin.name for pin in wanted}
        assert len({part["bom-ref"] for part in named.values()}) == len(named)
        for pin in wanted:
            part = named[pin.name]
            assert PackageURL.from_string(part["purl"]).version == pin.version == part["version"]
            assert {item["value"] for item in part["properties"]} == set(pin.hashes)


def test_bad_usage_is_told() -> None:
    assert run("bill").returncode == 2
