"""Hazard 1: three real mongods; what was answered 2xx survives a primary that dies alone with its writes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from hazard_parts import open_stores, scheduler_here
from pydantic import SecretStr
from pymongo.errors import PyMongoError
from tests.chaos.replica_set import ReplicaSet

from headrace.contracts.config import JobConfig
from headrace.testing.eventually import eventually

BODY = {"type": "any", "payload": 1}


@pytest.fixture
def trio() -> Iterator[ReplicaSet]:
    trio = ReplicaSet()
    try:
        trio.start()
        yield trio
    finally:
        trio.close()


@pytest.mark.slow
async def test_hazard_1_no_2xx_before_a_majority_has_it_and_none_is_rolled_back(
    config: JobConfig, trio: ReplicaSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both secondaries die: no 2xx. The primary dies with what it alone has: every 2xx is still there (I1, I12)."""
    monkeypatch.setattr("headrace.runtime.store.state_insert.INSERT_SECONDS", 0.7)
    config = config.model_copy(update={"mongo_url": SecretStr(trio.url)})
    first = trio.members[await asyncio.to_thread(trio.wait_for_primary)]
    others = [member for member in trio.members if member is not first]
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
            except PyMongoError as error:  # while the driver looks for the primary
                raise AssertionError(str(error)) from error

        stored = await eventually(all_stored, within=20)
    assert set(accepted) <= stored, "accepted and gone"
    assert stored <= {*accepted, *unknown}, f"refused and stored: {others_said}"
    assert set(unknown) - stored, "the planned loss did not happen"
