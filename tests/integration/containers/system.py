"""A whole system of containers: a replica set of three, Redis, and two of each service but the monitor.

Redis, MongoDB and this machine are three networks, so that a container can be cut off from one of them alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from testcontainers.core.network import Network

from headrace.client import Client

from .engine import PORTS, ROOT, Images
from .node import LOOPBACK, Node

TOKEN = "a-token-for-the-tests-of-containers"
MEMBERS = 3
LEASE_SECONDS = 9
"""Three heartbeats of a machine that is busy with other things."""
SETTINGS = {
    "JOB_HTTP_HOST": "0.0.0.0",
    "JOB_API_TOKENS_FILE": "/etc/headrace/tokens.toml",
    "JOB_TEST_MODE": "1",
    "JOB_WORKER_HEARTBEAT_SECONDS": "3",
    "JOB_LEASE_SECONDS": str(LEASE_SECONDS),
    "JOB_RECOVERY_INTERVAL_SECONDS": "5",
    "JOB_SHUTDOWN_GRACE_SECONDS": "15",
    "JOB_MAX_WORKERS": "8",
}
HARDENED: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "init": True,
}
_REDIS_USER, _REDIS_PASSWORD = "headrace", "of-the-tests"


def settings(mongo: str = "mongo-0:27017,mongo-1:27017,mongo-2:27017") -> dict[str, str]:
    """What every service of a test is told."""
    return SETTINGS | {
        "JOB_REDIS_URL": f"redis://{_REDIS_USER}:{_REDIS_PASSWORD}@redis:6379/0",
        "JOB_MONGO_URL": f"mongodb://{mongo}/?replicaSet=rs0",
    }


def write_tokens(folder: Path) -> Path:
    """A token table that any user may read: a container's user is another one."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    file = folder / "tokens.toml"
    file.write_text(f'[tests]\nhash = "sha256:{digest}"\nscopes = ["admin"]\n')
    file.chmod(0o644)
    return file


def redis_node(networks: list[Network]) -> Node:
    """An empty Redis that keeps nothing, with the services' user and the rights that it has in docker-compose.yml."""
    spec = importlib.util.spec_from_file_location("compose_init", ROOT / "deploy/compose/init/init.py")
    assert spec is not None
    assert spec.loader is not None
    init = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(init)
    rights = f"{_REDIS_USER} on >{_REDIS_PASSWORD} {init.REDIS_RIGHTS}"
    command = ["redis-server", "--save", "", "--maxmemory-policy", "noeviction", "--user", *rights.split()]
    return Node("redis", "redis:7-alpine", networks, port=6379, command=command)


def mongo_node(alias: str, networks: list[Network]) -> Node:
    """A member-to-be of a replica set, in memory."""
    command = ["mongod", "--replSet", "rs0", "--bind_ip_all", "--quiet", "--wiredTigerCacheSizeGB", "0.25"]
    return Node(alias, "mongo:7", networks, port=27017, command=command, tmpfs={"/data/db": "mode=1777"})


def service_node(name: str, image: str, networks: list[Network], folder: Path, env: Mapping[str, str]) -> Node:
    """A service as the compose file runs it: read-only, without a capability."""
    files = {folder / "tokens.toml": ("/etc/headrace/tokens.toml", "ro"), folder / "effects": ("/effects", "rw")}
    return Node(
        name, image, networks, port=PORTS[name], env=env, files=files, tmpfs={"/tmp": "size=128m,mode=1777"}, **HARDENED
    )


class System:
    """The containers, by what they are. `heal` makes it whole again, whatever a test did."""

    def __init__(self, images: Images, folder: Path) -> None:
        self._images, self._folder = images, folder
        self._stack = ExitStack()
        self.edge, self.redis_side, self.mongo_side = Network(), _inner(), _inner()
        self.redis = redis_node([self.edge, self.redis_side])
        self.mongos = [mongo_node(f"mongo-{n}", [self.edge, self.mongo_side]) for n in range(MEMBERS)]
        self.services = {name: [self.make(name) for _ in range(1 if name == "monitor" else 2)] for name in PORTS}
        write_tokens(folder)
        (folder / "effects").mkdir()
        (folder / "effects").chmod(0o777)

    def make(self, name: str) -> Node:
        """One more container of a service; it is not started, and the caller puts it into `services`."""
        image = self._images.of("test-worker" if name == "worker" else name)
        env = settings() | ({"JOB_SCHEDULER_URL": "http://scheduler:8080"} if name == "monitor" else {})
        return service_node(name, image, [self.redis_side, self.mongo_side, self.edge], self._folder, env)

    def effects(self, name: str) -> tuple[Path, str]:
        """A file that jobs may append to: its place here, and its place in a worker's container."""
        path = self._folder / "effects" / name
        path.touch()
        path.chmod(0o666)
        return path, f"/effects/{name}"

    def nodes(self) -> list[Node]:
        """Everything, the stores first."""
        return [self.redis, *self.mongos, *(node for nodes in self.services.values() for node in nodes)]

    def __enter__(self) -> System:
        with ExitStack() as stack:
            for network in (self.edge, self.redis_side, self.mongo_side):
                stack.enter_context(network)
            stack.callback(self._remove)
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(Node.start, [self.redis, *self.mongos]))
                initiate(self.mongos)
                list(pool.map(Node.start, [node for nodes in self.services.values() for node in nodes]))
            self.heal()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _remove(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(Node.remove, self.nodes()))

    def heal(self) -> None:
        """Every container runs, is on its networks, and is ready."""
        for node in self.nodes():
            node.heal()
        primary(self.mongos).close()
        for nodes in self.services.values():
            for node in nodes:
                node.until_ready()

    def client(self, number: int = 0, **more: Any) -> Client:
        """A client of one of the schedulers."""
        return self.client_of(self.services["scheduler"][number], **more)

    def client_of(self, scheduler: Node, **more: Any) -> Client:
        """A client of that one, with all scopes."""
        return Client(scheduler.url, token=TOKEN, **more)

    @contextmanager
    def database(self) -> Iterator[Any]:
        """The services' database, on the member that is primary now."""
        with primary(self.mongos) as client:
            yield client["headrace"]

    def children(self, worker: Node) -> set[str]:
        """The incarnations that a worker's container has had: what stands as `owner` on a job."""
        with self.database() as database:
            return {found["_id"] for found in database.workers.find({"host": worker.container.short_id}, {"_id": 1})}

    def explain(self) -> str:
        """Where everything stands, and the end of the services' logs."""
        services = [node for nodes in self.services.values() for node in nodes]
        lines = [f"{node.alias} {node.status} {node.url if node.status == 'running' else ''}" for node in self.nodes()]
        return "\n".join([*lines, *(f"--- {node.alias}\n{node.logs()[-3000:]}" for node in services)])


def _inner() -> Network:
    return Network(docker_network_kw={"internal": True})


def _direct(node: Node) -> MongoClient[Any]:
    # The members know each other by names that this machine does not: each is asked on its own.
    return MongoClient(LOOPBACK, node.port, directConnection=True, serverSelectionTimeoutMS=2000, w="majority")


def initiate(mongos: list[Node], *, within: float = 90) -> None:
    """Make them one replica set, and wait for its primary."""
    members = [{"_id": n, "host": f"{node.alias}:27017", "priority": 1} for n, node in enumerate(mongos)]
    deadline = time.monotonic() + within
    while True:
        try:
            with _direct(mongos[0]) as client:
                client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
            break
        except PyMongoError as error:  # the server is not up yet, or cannot reach the others yet
            if "already initialized" in str(error):
                break
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
    primary(mongos, within=within).close()


def primary(mongos: list[Node], *, within: float = 60) -> MongoClient[Any]:
    """A client of the member that is primary, when there is one."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        for node in mongos:
            client = _direct(node)
            try:
                if client.admin.command("hello")["isWritablePrimary"]:
                    return client
            except PyMongoError:  # it is away, or electing
                pass
            client.close()
        time.sleep(0.2)
    raise AssertionError("there is no primary: " + ", ".join(f"{node.alias} {node.status}" for node in mongos))


def owned(folder: Path) -> Path:
    """The folder, readable for other users, and passable up to it: a container's user is one."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    folder.chmod(0o755)
    for parent in folder.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path(parent.anchor):
            parent.chmod(parent.stat().st_mode | 0o011)
    return folder
