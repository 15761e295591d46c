"""Clients that mean harm: what they send is refused cheaply, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import time

import psutil
import pytest

from headrace.runtime.web import body

OPERATORS = [{"$ne": None}, {"$gt": ""}, {"$where": "sleep(1000)"}, {"$regex": ".*"}, ["$ne"], "$where", "a.$b"]
TEXT_FIELDS = ("type", "priority", "unique_key", "run_at", "tags", "max_retries", "timeout_seconds", "delay_seconds")


@pytest.mark.parametrize("operator", OPERATORS, ids=json.dumps)
async def test_operators_in_any_field_are_text_or_refused(api, operator, subtests):
    await api.complete()
    await api.submit(tags={"team": "a"}, unique_key="other")
    for field in TEXT_FIELDS:
        with subtests.test(field):
            response = await api.post({"type": "any", "payload": {}} | {field: operator})
            told = json.loads(await response.text())
            if field == "unique_key" and isinstance(operator, str):
                assert (response.status, told["unique_key"]) == (201, operator)
            else:
                assert response.status == 422, told
    job = await api.submit(payload={"$set": operator, "a.b": operator})
    assert (await api.get(f"/v1/jobs/{job['id']}"))["payload"] == {"$set": operator, "a.b": operator}
    text = operator if isinstance(operator, str) else json.dumps(operator)
    for name in ("state", "type", "pool", "priority", "cursor", "limit", "state[$ne]", "$where"):
        with subtests.test(f"query {name}"):
            response = await api.client.get("/v1/jobs", params={name: text})
            assert response.status in {200, 422}
            if response.status == 200:
                assert (await response.json())["jobs"] == []
    assert (await api.get("/v1/jobs?tag=team:$ne"))["jobs"] == []
    response = await api.client.post("/v1/dead-letters/replay", json={"filter": {"type": operator}})
    assert response.status in {200, 422}
    assert response.status == 422 or (await response.json())["matched"] == 0


async def test_an_endless_body_costs_no_memory(api):
    """It is given up at the limit, whatever is still coming, and the loop goes on turning."""
    sent = 0

    async def endless():
        nonlocal sent
        yield b'{"type": "any", "payload": "'
        while sent < 1 << 30:
            sent += 65536
            yield b"x" * 65536

    process = psutil.Process(os.getpid())
    before, longest, over = process.memory_info().rss, 0.0, asyncio.Event()

    async def watch():
        nonlocal longest
        while not over.is_set():
            began = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - began)

    watching = asyncio.create_task(watch())
    try:
        response = await api.client.post(
            "/v1/jobs", data=endless(), headers={"Content-Type": "application/json"}, timeout=20
        )
        await api.problem(response, 413, "too-large")
    finally:
        over.set()
        await watching
    assert sent < 64 << 20
    assert process.memory_info().rss - before < 20 << 20
    assert longest < 0.5


async def test_slow_clients_do_not_stop_a_good_one(api, monkeypatch):
    """Five hundred that never end their requests, and one that is answered at once; theirs are given up."""
    monkeypatch.setattr(body, "READ_SECONDS", 1.0)
    await api.complete()
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    opened = [await asyncio.open_connection(api.client.host, api.client.port) for _ in range(250)]
    waiting = [await asyncio.open_connection(api.client.host, api.client.port) for _ in range(250)]
    try:
        for _, writer in opened:
            writer.write(head)
        for _, writer in waiting:
            writer.write(head[:20])
        began = time.monotonic()
        await api.submit()
        assert time.monotonic() - began < 2
        async with asyncio.timeout(10):
            assert b"HTTP/1.1 4" in await opened[0][0].readline()
    finally:
        for _, writer in opened + waiting:
            writer.close()
