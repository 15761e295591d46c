"""The service as a process: its settings, its port, its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import aiohttp
import pytest

from headrace.contracts.executor import ExecutionPolicy
from headrace.local.ports import free_port
from headrace.runtime.store.database import Database
from headrace.runtime.store.job_types import JobType, JobTypes


@pytest.fixture
async def start(config, tmp_path):
    started = []

    async def run(**settings):
        environ = {name: value for name, value in os.environ.items() if not name.startswith("JOB_")}
        environ |= {
            "JOB_REDIS_URL": config.redis_url.get_secret_value(),
            "JOB_MONGO_URL": config.mongo_url.get_secret_value(),
            "JOB_MONGO_DATABASE": config.mongo_database,
            "JOB_NAMESPACE": config.namespace,
            "JOB_HTTP_PORT": "0",
        }
        environ |= {name: str(value) for name, value in settings.items()}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace.scheduler", env=environ, stderr=asyncio.subprocess.PIPE
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _ready_url(process):
    async with asyncio.timeout(20):
        while True:
            event = json.loads(await process.stderr.readline())
            if event["event"] == "service.ready":
                return event["url"]


async def _refused(process):
    async with asyncio.timeout(20):
        _, stderr = await process.communicate()
    text = stderr.decode()
    assert process.returncode == 2, text
    assert "Traceback" not in text
    assert len(text.splitlines()) == 1
    return text


async def test_it_serves_and_ends_with_code_0_on_sigterm(start):
    process = await start()
    url = await _ready_url(process)
    async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as response:
        assert response.status == 200
        assert set((await response.json())["checks"]) == {"redis", "mongo"}
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        assert await process.wait() == 0


async def test_a_misspelt_setting_is_refused_in_one_line(start):
    text = await _refused(await start(JOB_QUEUE_SIZE_LIMT=5))
    assert "JOB_QUEUE_SIZE_LIMIT" in text


async def test_a_port_in_use_is_told_in_one_line(start):
    port = free_port()
    first = await start(JOB_HTTP_PORT=port)
    await _ready_url(first)
    assert f"port {port}" in await _refused(await start(JOB_HTTP_PORT=port))


async def test_wrong_settings_of_the_stores_are_told_without_their_passwords(start):
    text = await _refused(await start(JOB_REDIS_URL="http://user:canary@127.0.0.1"))
    assert "JOB_REDIS_URL" in text
    assert "canary" not in text


async def test_a_tokens_file_that_is_none_is_refused(start, tmp_path):
    path = tmp_path / "tokens.toml"
    path.write_text("[x]\nhash = 5")
    assert "JOB_API_TOKENS_FILE" in await _refused(await start(JOB_API_TOKENS_FILE=path))


async def test_a_reachable_address_without_tokens_is_refused(start):
    assert "headrace token new" in await _refused(await start(JOB_HTTP_HOST="0.0.0.0"))


async def test_it_starts_without_its_stores_and_ends_in_time(start):
    process = await start(
        JOB_REDIS_URL=f"redis://127.0.0.1:{free_port()}", JOB_MONGO_URL=f"mongodb://127.0.0.1:{free_port()}"
    )
    url = await _ready_url(process)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/readyz") as response:
            assert response.status == 503
        async with session.post(f"{url}/v1/jobs", json={"type": "any", "payload": 1}) as response:
            assert response.status == 503
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(20):
        assert await process.wait() == 0


@pytest.fixture
async def database(config):
    opened = Database(config, appname="test")
    await JobTypes(opened).register([JobType("any", ExecutionPolicy(), {})])
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("point", "is_stored"),
    [
        ("before_reserve", False),
        ("after_reserve", False),
        ("before_mongo_insert", False),
        ("after_mongo_insert", True),
        ("after_enqueue", True),
    ],
)
async def test_a_kill_at_any_point_and_a_repeat_make_one_job(start, config, database, queue, point, is_stored):
    assert await queue.finish_rebuild("default", await queue.begin_rebuild("default"))
    body, headers = {"type": "any", "payload": 1}, {"Idempotency-Key": "k"}
    doomed = await start(JOB_FAILPOINTS=f"{point}=exit137", JOB_TEST_MODE=1)
    url = await _ready_url(doomed)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post(f"{url}/v1/jobs", json=body, headers=headers)
        assert await doomed.wait() == 137
        assert await database.jobs.count_documents({}) == is_stored
        url = await _ready_url(await start())
        async with session.post(f"{url}/v1/jobs", json=body, headers=headers) as response:
            assert response.status == (200 if is_stored else 201)
    assert await database.jobs.count_documents({}) == 1


async def test_requests_under_way_are_answered_before_the_end(start, database):
    process = await start(JOB_FAILPOINTS="before_mongo_insert=sleep:700", JOB_TEST_MODE=1)
    url = await _ready_url(process)
    async with aiohttp.ClientSession() as session:
        posted = asyncio.create_task(session.post(f"{url}/v1/jobs", json={"type": "any", "payload": 1}))
        await asyncio.sleep(0.4)
        process.send_signal(signal.SIGTERM)
        async with await posted as response:
            assert response.status == 201
    async with asyncio.timeout(20):
        assert await process.wait() == 0
