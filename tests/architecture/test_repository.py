"""No file of the repository names the machine it was written on or where its packages were loaded from."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MINE = Path(__file__)
CONTAINER_FILES = re.compile(r"(^|/)((?:[\w-]+\.)?Dockerfile|docker-compose[^/]*\.yml)$|^deploy/")
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
    assert found == [], (
        "these name a folder of somebody's machine: use a path from the repository's root, or tmp_path in a test"
    )


def test_no_file_names_a_package_registry() -> None:
    assert [name for name, text in texts() if REGISTRY.search(text)] == [], (
        "where packages come from is a setting of the machine: leave the registry's address out"
    )


def test_every_pin_has_its_hash_and_no_pin_an_address() -> None:
    for file in sorted((ROOT / "requirements").glob("*.txt")):
        lines = file.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        pins = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        assert pins, f"requirements/{file.name} is empty: run make lock"
        for pin in pins:
            assert re.match(r"[A-Za-z0-9._\[\],-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", pin), (
                f"{file.name}: {pin[:60]} … is no exact version with a sha256 hash: change the .in file, then make lock"
            )
            assert "://" not in pin, f"{file.name}: {pin[:60]} … has an address: depend on a version of a package"


def test_hooks_download_nothing_and_run_what_is_pinned() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    repositories = yaml.safe_load(text)["repos"]
    assert [each["repo"] for each in repositories] == ["local"], (
        "a hook's own repository would be downloaded at a version of its own: run the tool of .venv as a local hook"
    )
    strange = [hook["id"] for hook in repositories[0]["hooks"] if not re.match(r"\.venv/bin/|make ", hook["entry"])]
    assert strange == [], "a hook runs a program of .venv or a target of the Makefile, so that CI runs the same"


@pytest.mark.parametrize("text", ["see /work/x", "(/root/.bashrc)", '"/home/me"', "/Users/me"])
def test_a_path_of_a_machine_is_recognised(text: str) -> None:
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("text", ["docs/work/x", "http://h/work/y", "/v1/jobs", "../root/z", "/workers/1"])
def test_other_paths_are_not_taken_for_one(text: str) -> None:
    assert not MACHINE_PATH.search(text)
