"""The system of docker-compose.yml, under a project name of its own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace.client import Client
from headrace.local.demo_site import make_content

from .engine import ROOT, docker
from .system import owned

SERVICES = ("scheduler", "worker", "recovery", "monitor")
STORES = ("redis", "mongo")
SITE_URL = "http://site:8080/"
UP_SECONDS = 420


@dataclass(frozen=True)
class Stack:
    """One composed system under a project name of its own."""

    project: str
    env: dict[str, str]

    def compose(
        self, *words: str, seconds: float = 120, check: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker compose`, with `env` for this time; a failure shows what it said."""
        command = ["docker", "compose", "--project-name", self.project, "--profile", "test", *words]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of a service's container."""
        container = self.compose("ps", "--all", "--quiet", service).stdout.split()[0]
        return dict(json.loads(docker("inspect", container))[0])

    def url(self, service: str, port: int) -> str:
        """Where a service is published."""
        return "http://" + self.compose("port", service, str(port)).stdout.strip()

    def token(self) -> str:
        """The API token, by the documented command."""
        return self.compose("run", "--rm", "init", "cat", "/run/headrace/operator/token").stdout.strip()

    def client(self) -> Client:
        """A client of the scheduler that may do everything."""
        return Client(self.url("scheduler", 8080), token=self.token())

    def explain(self) -> str:
        """The state of the containers and the end of their logs."""
        return "\n".join(
            self.compose(*words, check=False).stdout for words in (("ps", "--all"), ("logs", "--no-color", "--tail=40"))
        )


def write_site(folder: Path) -> Path:
    """The demo's pages as files, for a server in a container."""
    for path, html in make_content().pages.items():
        file = folder / (path.lstrip("/") + ("index.html" if path.endswith("/") else ""))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(html)
    return owned(folder)


@contextmanager
def composed(site: Path) -> Iterator[Stack]:
    """The whole system, built from this tree; gone with its images and volumes afterwards."""
    ports = {f"HEADRACE_{service.upper()}_PORT": "0" for service in SERVICES}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("JOB_", "HEADRACE_"))}
    settings = {"JOB_WORKER_HEARTBEAT_SECONDS": "2", "JOB_LEASE_SECONDS": "6", "JOB_CRAWL_ALLOW_PRIVATE": "1"}
    stack = Stack(f"headrace-test-{secrets.token_hex(4)}", inherited | ports | settings | {"HEADRACE_SITE": str(site)})
    try:
        try:
            stack.compose("up", "-d", "--build", "--wait", "--wait-timeout", "300", seconds=UP_SECONDS)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            pytest.fail(f"{error}\n{stack.explain()}")
        yield stack
    finally:
        stack.compose(
            "--profile",
            "load",
            "--profile",
            "chaos",
            "down",
            "--volumes",
            "--remove-orphans",
            "--rmi",
            "local",
            "--timeout",
            "10",
            check=False,
        )
