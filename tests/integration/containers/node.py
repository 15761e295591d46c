"""One container of a system under test, and what a test may do to it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from docker.types import EndpointConfig
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

LOOPBACK = "127.0.0.1"
API = "1.45"


class Named(Protocol):
    """Where a container is on a network."""

    @property
    def name(self) -> str:
        """The network's name."""


class Node:
    """A container on some networks, known by its alias on the last of them, published on a free port of loopback.

    Args:
        alias: Its name to the others.
        image: Its image.
        networks: The first is the way to this machine; the others should be internal. A store has its alias on the
            network that others are cut off from, and nowhere else.
        port: What it listens on.
        env: Its whole environment.
        command: Instead of the image's.
        files: This machine's file or folder → (where it is in the container, `ro` or `rw`).
        tmpfs: Folder → options.
        more: For the engine's `create`.
    """

    def __init__(
        self,
        alias: str,
        image: str,
        networks: Sequence[Network],
        *,
        port: int,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
        files: Mapping[Path, tuple[str, str]] | None = None,
        tmpfs: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        self.alias = alias
        self._networks = list(networks)
        self._port = port
        made = DockerContainer(image, env=dict(env or {}), command=list(command) if command else None)
        made.with_exposed_ports(port)
        made.tmpfs = dict(tmpfs or {})
        for file, (inside, mode) in (files or {}).items():
            made.with_volume_mapping(str(file), inside, mode)
        ends = {network.name: EndpointConfig(API) for network in networks[:-1]}
        ends[networks[-1].name] = EndpointConfig(API, aliases=[alias])
        # Before the start, all of them: a service that is joined to its stores afterwards would begin without them.
        made.with_kwargs(network=networks[0].name, networking_config=ends, **more)
        made.ports = {f"{port}/tcp": (LOOPBACK, None)}  # type: ignore[dict-item]  # it goes to docker as it is
        self._made = made

    @property
    def container(self) -> Any:
        """The engine's handle; what it knows is as old as its last `reload`."""
        return self._made.get_wrapped_container()

    @property
    def url(self) -> str:
        """Where it is published now; another port after each start."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def port(self) -> int:
        """The published port."""
        self.container.reload()
        return int(self.container.attrs["NetworkSettings"]["Ports"][f"{self._port}/tcp"][0]["HostPort"])

    @property
    def status(self) -> str:
        """`running`, `paused` or `exited`."""
        self.container.reload()
        return str(self.container.status)

    @property
    def exit_code(self) -> int:
        """How it ended."""
        self.container.reload()
        return int(self.container.attrs["State"]["ExitCode"])

    def start(self) -> Node:
        """Create and start it."""
        self._made.start()
        return self

    def remove(self) -> None:
        """End it and all that it wrote."""
        if self._made._container is not None:
            self._made.stop()

    def heal(self) -> None:
        """Undo what was done to it."""
        if self.status == "paused":
            self.container.unpause()
        elif self.status != "running":
            self.container.start()
        for network in self._networks:
            self.join(network)

    def kill(self) -> None:
        """SIGKILL, as when the machine dies."""
        self.container.kill()

    def stop(self, *, seconds: int = 40) -> int:
        """SIGTERM, SIGKILL after `seconds`; returns the exit code, 137 when it was killed."""
        self.container.stop(timeout=seconds)
        return self.exit_code

    def cut(self, network: Network) -> None:
        """Take it off a network, without a word to those it was connected to."""
        network._unwrap_network.disconnect(self.container)

    def join(self, network: Network) -> None:
        """Bring it back under its alias, if it is away."""
        self.container.reload()
        if network.name not in self.container.attrs["NetworkSettings"]["Networks"]:
            aliases = [self.alias] if network is self._networks[-1] else None
            network.connect(self.container.id, aliases)

    def run(self, *words: str) -> str:
        """What a command in it says."""
        code, said = self.container.exec_run(list(words))
        assert code == 0, f"{self.alias}: {' '.join(words)[:200]}: {said.decode()}"
        return str(said.decode())

    def logs(self) -> str:
        """Everything it said."""
        return str(self.container.logs().decode(errors="replace"))

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET; status 0 when nobody answers."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, KeyError, IndexError, TypeError):  # it has no port, or nobody is behind it
            return 0, ""

    def is_ready(self) -> bool:
        """Whether its readiness probe says so."""
        return self.get("/readyz")[0] == 200

    def detail(self, check: str) -> str:
        """What its readiness probe says of one thing."""
        body = json.loads(self.get("/readyz")[1] or "{}")
        return str(body.get("checks", {}).get(check, {}).get("detail"))

    def until_ready(self, *, within: float = 150) -> Node:
        """Wait for it; a failure shows its log."""
        deadline = time.monotonic() + within
        while not self.is_ready():
            if time.monotonic() > deadline or self.status == "exited":
                raise AssertionError(f"{self.alias} ({self.status}) is not ready:\n{self.logs()[-4000:]}")
            time.sleep(0.1)
        return self
