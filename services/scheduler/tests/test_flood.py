"""S29: one tenant's flood is its own. Measured in answers and not in seconds, so a slow machine measures the same."""

from __future__ import annotations

import asyncio
import json
from statistics import median

import pytest

from headrace.runtime.web.auth import hash_token

FLOODERS = 12
"""Clients of the flooding tenant, each with one request under way at any time."""
FEW = 16


@pytest.fixture
def tokens(tmp_path):
    """`red` may fill half of a pool, `blue` all of it; neither has a rate."""
    lines = []
    for tenant, share in (("red", 50), ("blue", 100)):
        lines += [f"[{tenant}]", f'hash = "{hash_token(tenant + "-secret")}"', 'scopes = ["submit", "read"]']
        lines += [f'tenant = "{tenant}"', f"share = {share}"]
    path = tmp_path / "flood.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("batches", [False, True], ids=["single-requests", "batches"])
async def test_while_one_tenant_floods_another_is_served_in_turn(make_api, config, tokens, batches):
    """Per answer to the quiet tenant, the flood has about one for each of its clients: a turn each, and no queue."""
    api = await make_api(config.model_copy(update={"queue_size_limit": 4 * FEW, "api_tokens_file": tokens}))
    await api.complete()
    answered, refused, over = 0, 0, asyncio.Event()

    async def flood(number):
        nonlocal answered, refused
        one = {"type": "any", "payload": number}
        body = json.dumps({"jobs": [one] * 50} if batches else one)
        headers = {"Content-Type": "application/json"} | api.bearer("red")
        while not over.is_set():
            path = "/v1/jobs/batch" if batches else "/v1/jobs"
            async with api.client.post(path, data=body, headers=headers) as response:
                told = json.loads(await response.text())
            refused += sum(each["status"] == 429 for each in told["results"]) if batches else response.status == 429
            answered += 1

    flooding = [asyncio.create_task(flood(number)) for number in range(FLOODERS)]
    try:
        while answered < FLOODERS or not refused:  # the flood is at its height, and beyond its share
            await asyncio.sleep(0)
        meanwhile, statuses = [], []
        for number in range(FEW):
            before = answered
            statuses.append((await api.post({"type": "any", "payload": number}, **api.bearer("blue"))).status)
            meanwhile.append(answered - before)
    finally:
        over.set()
        await asyncio.gather(*flooding)
    assert statuses == [201] * FEW, "the flood took places that were not in its share"
    assert median(meanwhile) <= 3 * FLOODERS, meanwhile
    assert await api.database.jobs.count_documents({"tenant": "red"}) <= 2 * FEW
