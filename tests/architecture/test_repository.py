"""No file of the repository names the machine it was written on or where its packages were loaded from."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MINE = Path(__file__)
CONTAINER_FILES = re.compile(r"(^|/)(Dockerfile|docker-compose[^/]*\.yml)$|^deploy/")
"""Absolute paths in these are paths inside an image."""
MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(?:work|root|home|Users)/[\w.-]")
REGISTRY = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.npmjs|registry-1\.docker|index-url[ =]+[\"']?http|^\s*url = \"http", re.M
)


def files() -> list[Path]:
    """Every file that is or may be committed."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT, capture_output=True, check=True, text=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no checkout of the repository")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def texts() -> Iterator[tuple[str, str]]:
    """Every text file: its name and its content."""
    for file in files():
        if file == MINE:
            continue
        try:
            yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_no_file_names_a_path_of_a_machine() -> None:
    found = [
        name
        for name, text in texts()
        if str(ROOT) in text or (not CONTAINER_FILES.search(name) and MACHINE_PATH.search(text))
    ]
    assert found == []


def test_no_file_names_a_package_registry() -> None:
    assert [name for name, text in texts() if REGISTRY.search(text)] == []


def test_every_pin_has_its_hash_and_no_pin_an_address() -> None:
    for file in sorted((ROOT / "requirements").glob("*.txt")):
        lines = file.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        pins = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        assert pins, file.name
        for pin in pins:
            assert re.match(r"[A-Za-z0-9._\[\],-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", pin), (file.name, pin[:60])
            assert "://" not in pin, (file.name, pin[:60])


@pytest.mark.parametrize("text", ["see /work/x", "(/root/.bashrc)", '"/home/me"', "/Users/me"])
def test_a_path_of_a_machine_is_recognised(text: str) -> None:
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("text", ["docs/work/x", "http://h/work/y", "/v1/jobs", "../root/z", "/workers/1"])
def test_other_paths_are_not_taken_for_one(text: str) -> None:
    assert not MACHINE_PATH.search(text)
