"""An embedded MongoDB: one mongod as a replica set of one member, because only replica sets keep majority writes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from headrace.local.binaries import find_mongod
from headrace.local.ports import LOOPBACK, accepts
from headrace.local.server import EmbeddedServer, ServerStartError

REPLICA_SET = "rs0"
_NOT_YET_INITIALIZED = 94
_INVALID_CONFIG = 93  # the member is not in its own configuration: its folder was last served on another port


class MongoServer(EmbeddedServer):
    """A real mongod on loopback that is primary of its own replica set once `start` returns.

    Args:
        folder: See `EmbeddedServer`. A folder of an earlier run is taken over, also on another port.
        port: See `EmbeddedServer`.
        test_commands: Whether `failCommand` and other fail points may be set.
        cache_gb: The storage engine's cache; 0.25 is the least mongod takes.
    """

    name = "mongod"

    def __init__(
        self,
        *,
        folder: Path | None = None,
        port: int | None = None,
        test_commands: bool = False,
        cache_gb: float = 0.25,
    ) -> None:
        self._program = find_mongod()
        super().__init__(folder=folder, port=port)
        self._test_commands = test_commands
        self._cache_gb = cache_gb

    @property
    def url(self) -> str:
        """`mongodb://127.0.0.1:PORT/?replicaSet=rs0`."""
        return f"mongodb://{self._host}/?replicaSet={REPLICA_SET}"

    def wipe(self) -> None:
        """Remove its data. Only while it is stopped."""
        shutil.rmtree(self._data, ignore_errors=True)

    def client(self) -> MongoClient[dict[str, Any]]:
        """A blocking client straight to this server, for preparing and inspecting; the caller closes it."""
        return MongoClient(LOOPBACK, self.port, directConnection=True, serverSelectionTimeoutMS=5_000)

    def drop_database(self, name: str) -> None:
        """Remove a database. Nothing happens when it does not exist."""
        with self.client() as client:
            client.drop_database(name)

    @property
    def _host(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _command(self) -> list[str]:
        self._data.mkdir(parents=True, exist_ok=True)
        command = [
            str(self._program),
            *("--replSet", REPLICA_SET),
            *("--bind_ip", LOOPBACK),
            *("--port", str(self.port)),
            *("--dbpath", str(self._data)),
            *("--wiredTigerCacheSizeGB", str(self._cache_gb)),
            "--nounixsocket",
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        ]
        if self._test_commands:
            command += ["--setParameter", "enableTestCommands=1"]
        return command

    def _serves(self) -> bool:
        return accepts(self.port)

    def _after_start(self, deadline: float) -> None:
        with self.client() as client:
            while True:
                try:
                    if client.admin.command("hello").get("isWritablePrimary"):
                        self._check_it_is_ours(client)
                        return
                    self._configure(client)
                except PyMongoError as error:
                    last: object = error
                else:
                    last = "not primary yet"
                if time.monotonic() > deadline or not self.running:
                    raise ServerStartError(f"{self.name} did not become primary: {last}")
                time.sleep(0.02)

    def _check_it_is_ours(self, client: MongoClient[dict[str, Any]]) -> None:
        if client.admin.command("serverStatus")["pid"] != self.pid:
            raise ServerStartError(f"port {self.port} was taken by another mongod")

    def _configure(self, client: MongoClient[dict[str, Any]]) -> None:
        wanted = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": self._host}]}
        try:
            client.admin.command("replSetGetStatus")
        except OperationFailure as error:
            if error.code == _NOT_YET_INITIALIZED:
                client.admin.command("replSetInitiate", wanted)
            elif error.code == _INVALID_CONFIG:
                version = client.local.system.replset.find_one({"_id": REPLICA_SET}) or {}
                client.admin.command("replSetReconfig", wanted | {"version": version.get("version", 1) + 1}, force=True)
            else:
                raise
