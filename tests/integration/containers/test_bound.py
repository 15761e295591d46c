"""A pool is never fuller than its limit, however many submit at once and to whichever scheduler."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp
import pytest

from headrace.client import Client
from headrace.testing.eventually import eventually
from headrace.testing.executors import TEST_POOL

from .load import stored
from .system import TOKEN, System
from .truth import Jobs

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

LIMIT = 20


async def until_indexed(system: System) -> None:
    """The bound of several schedulers is exact by Redis; until a new pool is built there, each counts in MongoDB."""
    url = f"{system.services['monitor'][0].url}/v1/overview"

    async def probe() -> bool:
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
            session.get(url) as answer,
        ):
            return any(pool["name"] == TEST_POOL and pool["complete"] for pool in (await answer.json())["pools"])

    await eventually(probe, within=60, every=0.2)


async def test_two_schedulers_together_admit_no_more_than_the_limit(system: System, client: Client, jobs: Jobs) -> None:
    for number in range(2):  # each learns at once what it is told itself, and within seconds what another was told
        async with system.client(number) as told:
            await told.resize_pool(TEST_POOL, size_limit=LIMIT)
    await until_indexed(system)
    await client.pause_pool(TEST_POOL, reason="to fill it")
    refusals: Counter[str | None] = Counter()
    headers = {"Authorization": f"Bearer {TOKEN}"}

    async def submit(session: aiohttp.ClientSession, url: str) -> None:
        async with session.post(f"{url}/v1/jobs", json=dict(jobs.sleep()), headers=headers) as answer:
            body = await answer.json()
            if answer.status == 201:
                jobs.ids.append(body["id"])
            else:
                assert answer.status == 429, body
                assert int(answer.headers["Retry-After"]) >= 1
                refusals[body["type"]] += 1

    try:
        urls = [node.url for node in system.services["scheduler"]]
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(submit(session, url) for url in urls for _ in range(2 * LIMIT)))
            assert 0 < len(jobs.ids) <= LIMIT
            while len(jobs.ids) < LIMIT:  # what two had reserved at once may have been given back
                await submit(session, urls[0])
            for url in urls * 3:
                await submit(session, url)
        assert len(jobs.ids) == len(stored(system, jobs)) == LIMIT, "what was refused left nothing behind"
        assert set(refusals) == {"/problems/queue-full"}
        # The bound counts what is accepted, not what is repaired: what is there stays there.
        await client.resume_pool(TEST_POOL)
        await jobs.all_ended()
        await jobs.add(client, 1)
        await jobs.all_ended()
    finally:
        await client.resume_pool(TEST_POOL)
        await client.resize_pool(TEST_POOL, size_limit=None)
