"""Each image by itself, with nothing but stores: it gets ready, refuses bad settings clearly, and stops in time."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from testcontainers.core.network import Network

from .engine import PORTS, Images, docker
from .node import Node
from .system import SETTINGS, initiate, mongo_node, owned, redis_node, service_node, settings, write_tokens

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

BASE = "python:3.12-slim"
MINIMAL = {name: value for name, value in SETTINGS.items() if name in {"JOB_HTTP_HOST", "JOB_API_TOKENS_FILE"}}
ENGINE_SECONDS = 10
"""What the engine itself may take to start or to end a container on a busy machine."""

FORBIDDEN = ("pip", "pip3", "gcc", "cc", "make", "git", "curl", "wget", "uv", "hatchling")
"""Nothing that builds or fetches: what is not there cannot be used by somebody who got in."""


@dataclass(frozen=True)
class Place:
    """Where services are started: stores that are up, and a folder with a token table."""

    networks: list[Network]
    folder: Path


@pytest.fixture(scope="module")
def place(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A Redis, a replica set of one, and nothing else."""
    folder = owned(tmp_path_factory.mktemp("alone"))
    write_tokens(folder)
    (folder / "effects").mkdir()
    with Network() as network:
        stores = [redis_node([network]), mongo_node("mongo-0", [network])]
        try:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(Node.start, stores))
            initiate(stores[1:])
            yield Place([network], folder)
        finally:
            for store in stores:
                store.remove()


@contextmanager
def started(place: Place, images: Images, name: str, **env: str) -> Iterator[Node]:
    """A service with the least it can be told, and with `env`."""
    stores = {key: value for key, value in settings("mongo-0:27017").items() if key.endswith("_URL")}
    node = service_node(name, images.of(name), place.networks, place.folder, MINIMAL | stores | env)
    try:
        yield node.start()
    finally:
        node.remove()


@pytest.mark.parametrize("name", PORTS)
def test_it_is_ready_with_the_least_it_can_be_told_and_stops_at_sigterm(
    place: Place, images: Images, name: str, record_property: Callable[[str, object], None]
) -> None:
    began = time.monotonic()
    with started(place, images, name) as node:
        node.until_ready()
        ready = time.monotonic() - began
        assert node.get("/healthz")[0] == 200
        assert node.get("/metrics")[0] == 200
        assert node.get("/v1/jobs" if name == "scheduler" else "/v1/overview")[0] in {401, 404}

        def health() -> str:
            node.container.reload()
            return str(node.container.attrs["State"]["Health"]["Status"])

        deadline = time.monotonic() + 60
        while health() != "healthy":
            assert time.monotonic() < deadline, node.container.attrs["State"]["Health"]
            time.sleep(0.2)
        stopping = time.monotonic()
        assert node.stop(seconds=60) == 0, node.logs()
        stopped = time.monotonic() - stopping
        assert stopped < ENGINE_SECONDS + 5, "it had nothing to do"
        last = json.loads(node.logs().splitlines()[-1])
        assert last["event"] == "service.stopped"
    size = int(docker("image", "inspect", "--format", "{{.Size}}", images.of(name)))
    base = int(docker("image", "inspect", "--format", "{{.Size}}", BASE))
    record_property(
        "figures",
        f"| {name} | {size / 1e6:.0f} | {(size - base) / 1e6:.0f} | {ready:.1f} | {stopped:.1f} |",
    )


@pytest.mark.parametrize("name", PORTS)
def test_without_stores_it_lives_says_that_it_is_not_ready_and_stops(images: Images, place: Place, name: str) -> None:
    nowhere = {"JOB_REDIS_URL": "redis://nowhere:6379", "JOB_MONGO_URL": "mongodb://nowhere:27017/?replicaSet=rs0"}
    with started(place, images, name, **nowhere) as node:
        deadline = time.monotonic() + 60
        while node.get("/healthz")[0] != 200:
            assert time.monotonic() < deadline, node.logs()
            time.sleep(0.1)
        status, body = node.get("/readyz")
        # The monitor's work is to show what is away, so it is ready for that.
        assert status == (200 if name == "monitor" else 503)
        checks = json.loads(body)["checks"]
        # Of Redis a scheduler says that it can do without.
        assert [check["ok"] for part, check in checks.items() if part in {"mongo", "mongodb"}] == [False], checks
        assert "nowhere" not in body, "a probe that is open to everybody names no host"
        assert node.stop(seconds=60) == 0, node.logs()


@pytest.mark.parametrize("name", PORTS)
@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"JOB_API_TOKENS_FILE": ""}, "JOB_API_TOKENS_FILE"),
        ({"JOB_API_TOKENS_FILE": "/absent.toml"}, "JOB_API_TOKENS_FILE"),
        ({"JOB_MAX_WORKER": "3"}, "JOB_MAX_WORKER is not a setting; did you mean JOB_MAX_WORKERS?"),
        ({"JOB_LEASE_SECONDS": "soon"}, "JOB_LEASE_SECONDS: "),
        ({"JOB_LEASE_SECONDS": "31"}, "JOB_LEASE_SECONDS must be at least three times JOB_WORKER_HEARTBEAT_SECONDS"),
        ({"JOB_REDIS_URL": "", "JOB_REDIS_URL_FILE": "/absent"}, "JOB_REDIS_URL_FILE names a file that cannot be read"),
        ({"JOB_MONGO_URL": "postgres://db"}, "JOB_MONGO_URL"),
        ({"JOB_FAILPOINTS": "before_insert=exit"}, "JOB_FAILPOINTS is refused unless JOB_TEST_MODE=1"),
    ],
    ids=[
        "no-tokens",
        "absent-tokens",
        "misspelled",
        "no-number",
        "lease",
        "absent-secret",
        "wrong-store",
        "failpoints",
    ],
)
def test_a_wrong_setting_ends_it_with_code_2_and_one_line_that_names_it(
    place: Place, images: Images, name: str, env: dict[str, str], said: str
) -> None:
    told = MINIMAL | {key: value for key, value in settings("mongo-0:27017").items() if key.endswith("_URL")} | env
    words = [word for key, value in told.items() for word in ("-e", f"{key}={value}")]
    words += ["-v", f"{place.folder / 'tokens.toml'}:/etc/headrace/tokens.toml:ro"]
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--read-only", *words, images.of(name)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done
    assert done.stdout == ""
    # Before the tokens are read it may have warned, in its log.
    *_, line = done.stderr.splitlines()
    assert line.startswith(f"headrace-{name}: ")
    assert said in line
    assert "Traceback" not in done.stderr
    assert "of-the-tests" not in done.stderr, "no password"


@pytest.mark.parametrize("name", PORTS)
def test_an_image_is_labelled_small_and_holds_nothing_to_build_with(images: Images, name: str) -> None:
    found = json.loads(docker("image", "inspect", images.of(name)))[0]
    config = found["Config"]
    assert config["Labels"]["org.opencontainers.image.title"] == f"headrace-{name}"
    assert config["Labels"].keys() >= {
        f"org.opencontainers.image.{label}" for label in ("description", "version", "licenses")
    }
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == [f"headrace-{name}"]
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert list(config["ExposedPorts"]) == [f"{PORTS[name]}/tcp"]
    base = int(docker("image", "inspect", "--format", "{{.Size}}", BASE))
    assert found["Size"] - base < 80e6, "more than 80 MB on top of the base: look at what came in"
    script = f"for tool in {' '.join(FORBIDDEN)}; do command -v $tool; done; find / -xdev -perm /6000 -user 10001; true"
    said = docker(
        "run", "--rm", "--network", "none", "--read-only", "--entrypoint", "sh", images.of(name), "-c", script
    )
    assert said == ""


@pytest.mark.parametrize("name", PORTS)
def test_nothing_of_the_installation_can_be_written_by_its_user(images: Images, name: str) -> None:
    script = "find /opt/headrace ! -user root -o -type f -perm /022 | head; touch /opt/headrace/x 2>&1 | head -1"
    words = ("run", "--rm", "--network", "none", "--entrypoint", "sh", images.of(name), "-c", script)
    said = docker(*words).splitlines()
    assert len(said) == 1, said
    assert "Permission denied" in said[0]
