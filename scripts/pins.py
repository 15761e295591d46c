"""The pins of the images: checked against `requirements/policy.toml`, or written as a bill of materials.

    python scripts/pins.py audit           # exit 1 and one line per fault
    python scripts/pins.py sbom FOLDER     # headrace-SERVICE.cdx.json for each service (CycloneDX 1.6)

Neither asks the network: an audit must give the same answer today and when the change is released.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.version import Version

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements"
SERVICES = ("monitor", "recovery", "scheduler", "worker")
EXTRA = "otel"
"""What images get more with `--build-arg OTEL=1`: audited like the rest, and in no bill of the plain images."""
_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?==(?P<version>\S+?)(\s*;.*?)?(?P<hashes>(\s+--hash=\S+)*)")
_WORDS = {
    "apache": "Apache-2.0", "mit": "MIT", "bsd": "BSD-3-Clause", "isc": "ISC", "psf": "PSF-2.0",
    "python software foundation": "PSF-2.0", "lgplv3": "LGPL-3.0-or-later",
}  # fmt: skip


@dataclass(frozen=True)
class Pin:
    """One line of a requirements file."""

    name: str
    version: str
    hashes: tuple[str, ...]


def read(text: str) -> Iterator[Pin]:
    """The pins of a requirements file.

    Raises:
        ValueError: A line is no pin.
    """
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _PIN.fullmatch(line.strip())
        if found is None:
            raise ValueError(f"this is no pin: {line[:60]}")
        name = re.sub(r"[-_.]+", "-", found["name"]).lower()
        yield Pin(name, found["version"], tuple(re.findall(r"--hash=(\S+)", found["hashes"])))


def faults(pins: list[Pin], policy: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the pins, one line each."""
    allowed = set(policy["licences"])
    for pin in pins:
        where = f"{pin.name} {pin.version}"
        licence = policy["reviewed"].get(pin.name)
        if licence is None:
            yield f"{where}: nobody has reviewed it; add it to [reviewed] with its licence"
        elif not set(re.split(r" AND | OR ", licence)) <= allowed:
            yield f"{where}: the licence {licence} is not in licences"
        elif (told := told_licence(pin)) and not told & set(re.split(r" AND | OR ", licence)):
            yield f"{where}: it says {', '.join(sorted(told))}, and [reviewed] says {licence}"
        if f"{pin.name}=={pin.version}" in policy["refused"]:
            yield f"{where}: this version is refused"
        floor, why, *_ = policy["floors"].get(pin.name, ("0", ""))
        if Version(pin.version) < Version(floor):
            yield f"{where}: at least {floor} is needed: {why}"
        if not pin.hashes or not all(re.fullmatch(r"sha256:[0-9a-f]{64}", text) for text in pin.hashes):
            yield f"{where}: it has no sha256 hash"


def told_licence(pin: Pin) -> set[str]:
    """The licences that the installed distribution names; empty where it is not installed in this version."""
    try:
        if metadata.version(pin.name) != pin.version:
            return set()
        told = metadata.metadata(pin.name)
    except metadata.PackageNotFoundError:
        return set()
    if told.get("License-Expression"):
        return set(re.split(r" AND | OR ", told["License-Expression"]))
    words = " ".join(item for item in told.get_all("Classifier", []) if item.startswith("License"))
    text = (words or (told.get("License") or "")[:40]).lower()
    return {licence for word, licence in _WORDS.items() if re.search(rf"\b{word}", text)}


def bill(service: str, pins: list[Pin], policy: Mapping[str, Any]) -> dict[str, Any]:
    """The bill of materials of one image; equal for equal pins, so it carries neither time nor serial number."""
    version = tomllib.loads((ROOT / "services" / service / "pyproject.toml").read_text())["project"]["version"]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application", "name": f"headrace-{service}", "version": version,
                "licenses": [{"expression": "Apache-2.0"}],
            }
        },
        "components": [
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{pin.name}@{pin.version}",
                "purl": f"pkg:pypi/{pin.name}@{pin.version}",
                "name": pin.name,
                "version": pin.version,
                "licenses": [{"expression": policy["reviewed"][pin.name]}],
                "properties": [{"name": "headrace:hash", "value": text} for text in sorted(pin.hashes)],
            }
            for pin in sorted(pins, key=lambda pin: pin.name)
        ],
    }  # fmt: skip


def main(words: list[str]) -> int:
    """Run one of the two."""
    policy = tomllib.loads((REQUIREMENTS / "policy.toml").read_text(encoding="utf-8"))
    pins = {name: list(read((REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8"))) for name in (*SERVICES, EXTRA)}
    if words == ["audit"]:
        found = sorted({fault for some in pins.values() for fault in faults(some, policy)})
        print(*found, sep="\n", end="\n" if found else "")
        print(f"{len({pin.name for some in pins.values() for pin in some})} distributions, {len(found)} faults")
        return 1 if found else 0
    if len(words) == 2 and words[0] == "sbom":
        folder = Path(words[1])
        folder.mkdir(parents=True, exist_ok=True)
        for name in SERVICES:
            some = pins[name]
            file = folder / f"headrace-{name}.cdx.json"
            file.write_text(json.dumps(bill(name, some, policy), indent=1) + "\n", encoding="utf-8")
            print(f"{file}: {len(some)} components")
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
