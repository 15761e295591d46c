"""The Docker engine, and the images that are built from this tree for the tests."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PORTS = {"scheduler": 8080, "monitor": 8081, "worker": 8082, "recovery": 8083}
"""The services, and where each listens in its container."""
BUILD_SECONDS = 400


def docker(*words: str, seconds: float = 60) -> str:
    """What `docker WORDS` says; a failure shows it."""
    done = subprocess.run(
        ["docker", *words], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def require_engine() -> None:
    """Skip without an engine; fail instead where somebody promised one."""
    try:
        docker("info")
        docker("compose", "version")
    except (OSError, AssertionError, subprocess.SubprocessError):
        reason = "no Docker engine with Compose answers"
        if os.environ.get("HEADRACE_CONTAINERS") == "required":
            pytest.fail(f"{reason}, although HEADRACE_CONTAINERS=required")
        pytest.skip(reason)


@dataclass(frozen=True)
class Images:
    """The four services' images, and the worker's with the testing kit's executors in it."""

    tag: str

    def of(self, name: str) -> str:
        """The tag of a service, or of `test-worker`."""
        return f"headrace-test/{name}:{self.tag}"


@contextmanager
def built_images() -> Iterator[Images]:
    """Build them under tags that nobody else has, and remove those afterwards."""
    images = Images(uuid.uuid4().hex[:8])
    names = [images.of(name) for name in (*PORTS, "test-worker")]
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda name: _build(f"services/{name}/Dockerfile", images.of(name)), PORTS))
        here = Path(__file__).parent.relative_to(ROOT)
        _build(f"{here}/worker.Dockerfile", images.of("test-worker"), f"WORKER={images.of('worker')}")
        yield images
    finally:
        subprocess.run(["docker", "rmi", "--force", *names], capture_output=True, check=False)


def _build(file: str, tag: str, *arguments: str) -> None:
    words = [word for argument in arguments for word in ("--build-arg", argument)]
    docker("build", "--quiet", "-f", file, "-t", tag, *words, ".", seconds=BUILD_SECONDS)
