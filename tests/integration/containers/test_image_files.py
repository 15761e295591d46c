"""What the files of the images promise, read without an engine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SERVICES = {"scheduler": 8080, "monitor": 8081, "worker": 8082, "recovery": 8083}
DOCKERFILES = {name: ROOT / "services" / name / "Dockerfile" for name in SERVICES} | {
    name: ROOT / "deploy/compose" / name / "Dockerfile" for name in ("init", "load", "chaos")
}


def instructions(name: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile as (word, rest), continued lines joined, comments gone."""
    lines = [line for line in DOCKERFILES[name].read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def last(name: str, word: str) -> str:
    """The rest of the last instruction with that word."""
    return [rest for found, rest in instructions(name) if found == word][-1]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_runs_as_a_numbered_user_that_is_not_root(name: str) -> None:
    user, _, group = last(name, "USER").partition(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_starts_from_the_agreed_base_and_needs_no_foreign_frontend(name: str) -> None:
    assert {rest.split()[0] for word, rest in instructions(name) if word == "FROM"} == {"python:3.12-slim"}
    assert "syntax=" not in DOCKERFILES[name].read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_image_installs_only_what_its_hashes_name(name: str) -> None:
    installs = [rest for word, rest in instructions(name) if word == "RUN" and " install " in rest]
    assert len(installs) >= 3
    for command in re.findall(r"pip [^&]*\binstall\b[^&]*", " && ".join(installs)):
        assert "--require-hashes" in command or "--no-index" in command, command
        assert "--no-deps" in command, command
    assert f"requirements/{name}.txt requirements/" in [rest for word, rest in instructions(name) if word == "COPY"]


@pytest.mark.parametrize("name", SERVICES)
def test_the_final_stage_of_a_service_takes_nothing_but_the_environment(name: str) -> None:
    words = instructions(name)
    final = words[max(index for index, (word, _) in enumerate(words) if word == "FROM") :]
    assert [rest for word, rest in final if word in {"COPY", "ADD"}] == ["--from=build /opt/headrace /opt/headrace"]
    assert not any("install" in rest and "uninstall" not in rest for word, rest in final if word == "RUN")


@pytest.mark.parametrize(("name", "port"), SERVICES.items())
def test_a_service_image_starts_its_command_directly_and_is_probed_on_its_port(name: str, port: int) -> None:
    assert json.loads(last(name, "ENTRYPOINT")) == [f"headrace-{name}"]
    assert f"JOB_HTTP_PORT={port}" in last(name, "ENV").split()
    assert last(name, "EXPOSE") == str(port)
    assert "/healthz" in last(name, "HEALTHCHECK")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_no_secret_is_named_in_a_layer(name: str) -> None:
    for word, rest in instructions(name):
        if word in {"ARG", "ENV"}:
            assert not re.search(r"password|secret|token|_url", rest, re.IGNORECASE), rest


def test_the_builder_sees_an_allow_list() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:].split("/")[0] for line in lines if line.startswith("!")}
    assert allowed == {"requirements", "packages", "services"}
