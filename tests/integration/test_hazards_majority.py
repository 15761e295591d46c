"""Hazard 1: three real mongods; what was answered 2xx survives a primary that dies alone with its writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from hazard_parts import open_stores, scheduler_here
from pydantic import SecretStr
from pymongo.errors import PyMongoError

from headrace.contracts.config import JobConfig
from headrace.local.mongo_server import REPLICA_SET, MongoServer
from headrace.testing.eventually import eventually

BODY = {"type": "any", "payload": 1}


class Member(MongoServer):
    """One of several; the set is initiated from outside."""

    def _after_start(self, deadline: float) -> None:
        """Nothing: it is primary when the others say so."""

    @property
    def host(self) -> str:
        """As the set knows it."""
        return self._host


class Trio:
    """A replica set of three that fails over within seconds. The first one is primary while it lives."""

    def __init__(self) -> None:
        self.members = [Member(test_commands=True) for _ in range(3)]

    def start(self) -> None:
        for member in self.members:
            member.start()
        hosts = [
            {"_id": n, "host": member.host, "priority": 2 if n == 0 else 1} for n, member in enumerate(self.members)
        ]
        quick = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 300}
        with self.members[0].client() as client:
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": hosts, "settings": quick})
            deadline = time.monotonic() + 30
            while not client.admin.command("hello").get("isWritablePrimary"):
                assert time.monotonic() < deadline, "no primary"
                time.sleep(0.05)

    @property
    def url(self) -> str:
        """The address of the set."""
        return f"mongodb://{','.join(member.host for member in self.members)}/?replicaSet={REPLICA_SET}"

    def close(self) -> None:
        for member in self.members:
            member.close()


@pytest.fixture
def trio() -> Iterator[Trio]:
    trio = Trio()
    try:
        trio.start()
        yield trio
    finally:
        trio.close()


@pytest.mark.slow
async def test_hazard_1_no_2xx_before_a_majority_has_it_and_none_is_rolled_back(
    config: JobConfig, trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both secondaries die: no 2xx. The primary dies with what it alone has: every 2xx is still there (I1, I12)."""
    monkeypatch.setattr("headrace.runtime.store.state_insert.INSERT_SECONDS", 0.7)
    config = config.model_copy(update={"mongo_url": SecretStr(trio.url)})
    first, *others = trio.members
    accepted: list[str] = []
    unknown: list[str] = []
    others_said: list[Any] = []
    async with (
        open_stores(config) as stores,
        scheduler_here(config) as one,
        scheduler_here(config) as two,
        aiohttp.ClientSession() as session,
    ):

        async def post() -> int:
            async with session.post(f"{one}/v1/jobs", json=BODY) as response:
                answer: dict[str, Any] = await response.json()
                if response.status == 201:
                    accepted.append(answer["id"])
                elif answer["type"] == "/problems/outcome-unknown":
                    unknown.append(answer["id"])
                else:
                    others_said.append(answer)
                return response.status

        async def known(job_id: str) -> int:
            async with session.get(f"{two}/v1/jobs/{job_id}") as response:
                return response.status

        for _ in range(10):
            assert await post() == 201
            assert await known(accepted[-1]) == 200, "read through another scheduler, at once"

        # Killed, not frozen: what was on its way to a frozen one is still taken when it wakes.
        await asyncio.gather(*(asyncio.to_thread(member.kill) for member in others))
        statuses = [status for _ in range(2) for status in await asyncio.gather(*(post() for _ in range(4)))]
        assert set(statuses) == {503}
        assert unknown, "some were sent, and nobody may say what became of them"
        await asyncio.to_thread(first.kill)
        await asyncio.gather(*(asyncio.to_thread(member.start) for member in others))

        async def accepts() -> bool:
            return await post() == 201

        await eventually(accepts, within=30, every=0.2)
        await asyncio.to_thread(first.start)  # it undoes what nobody else has

        async def all_known() -> bool:
            return [await known(job_id) for job_id in accepted] == [200] * len(accepted)

        await eventually(all_known, within=20, every=0.2)

        async def all_stored() -> set[str]:
            try:
                return set(await stores.database.jobs.distinct("_id"))
            except PyMongoError as error:  # the first one, back with more priority, is just taking over
                raise AssertionError(str(error)) from error

        stored = await eventually(all_stored, within=20)
    assert set(accepted) <= stored, "accepted and gone"
    assert stored <= {*accepted, *unknown}, f"refused and stored: {others_said}"
    assert set(unknown) - stored, "the planned loss did not happen"
