"""Three real mongods as one replica set that fails over within seconds."""

from __future__ import annotations

import time
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from headrace.local.mongo_server import REPLICA_SET, MongoServer
from headrace.local.ports import LOOPBACK

ELECTION_S = 2.0


class Member(MongoServer):
    """One of three; the set is initiated from outside."""

    def _command(self) -> list[str]:
        # How long a secondary asks a frozen primary for more before it looks for another: by default 5 s, beside an
        # election timeout of 10 s. Nothing is durable for so long, whoever is primary.
        return [*super()._command(), "--setParameter", "oplogNetworkTimeoutBufferSeconds=1"]

    def _after_start(self, deadline: float) -> None:
        """Nothing: who is primary is the set's affair."""

    @property
    def host(self) -> str:
        """As the set knows it."""
        return self._host

    def quick_client(self) -> MongoClient[dict[str, Any]]:
        """Straight to this member, and not for long: it may be paused."""
        return MongoClient(
            LOOPBACK, self.port, directConnection=True, serverSelectionTimeoutMS=1000, socketTimeoutMS=1500
        )


class ReplicaSet:
    """The set. All methods block."""

    def __init__(self) -> None:
        self.members = [Member(test_commands=True) for _ in range(3)]

    @property
    def hosts(self) -> list[str]:
        """Of all members."""
        return [member.host for member in self.members]

    @property
    def url(self) -> str:
        """Straight to the members, without a link between."""
        return f"mongodb://{','.join(self.hosts)}/?replicaSet={REPLICA_SET}"

    def start(self) -> None:
        """Start all and wait for a primary."""
        for member in self.members:
            member.start()
        config = {
            "_id": REPLICA_SET,
            "members": [{"_id": number, "host": host} for number, host in enumerate(self.hosts)],
            "settings": {"electionTimeoutMillis": int(ELECTION_S * 1000), "heartbeatIntervalMillis": 300},
        }
        with self.members[0].client() as client:
            client.admin.command("replSetInitiate", config)
        self.wait_for_primary()

    def wait_for_primary(self, *, within: float = 30.0) -> int:
        """The number of the primary, as soon as there is one that can write."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            number = self.primary()
            if number is not None:
                return number
            time.sleep(0.05)
        raise TimeoutError(f"no primary within {within} s")

    def primary(self) -> int | None:
        """The number of the member that says it is primary now."""
        for number, member in enumerate(self.members):
            if member.running and self.ask(number, "hello").get("isWritablePrimary"):
                return number
        return None

    def ask(self, number: int, command: str | dict[str, Any], **options: Any) -> dict[str, Any]:
        """The answer of one member; empty when it gives none."""
        try:
            with self.members[number].quick_client() as client:
                answer: dict[str, Any] = client.admin.command(command, **options)
                return answer
        except PyMongoError:
            return {}

    def mend(self) -> None:
        """Let every member run again, and wait for a primary."""
        for member in self.members:
            if member.running:
                member.resume()
            member.start()
        self.wait_for_primary()

    def close(self) -> None:
        """End all."""
        for member in self.members:
            member.close()
