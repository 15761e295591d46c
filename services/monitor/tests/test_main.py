from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import aiohttp


async def test_the_command_serves_until_it_is_told_to_stop(world):
    config = world.config
    settings = {
        "JOB_HTTP_PORT": "0",
        "JOB_REDIS_URL": config.redis_url.get_secret_value(),
        "JOB_MONGO_URL": config.mongo_url.get_secret_value(),
        "JOB_MONGO_DATABASE": config.mongo_database,
        "JOB_NAMESPACE": config.namespace,
        "JOB_SCHEDULER_URL": config.scheduler_url,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOB_")} | settings
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headrace.monitor", env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        event: dict = {}
        while event.get("event") != "service.ready":
            event = json.loads(await asyncio.wait_for(process.stderr.readline(), timeout=30))
        async with aiohttp.ClientSession() as client, client.get(event["url"] + "/v1/overview") as answer:
            assert (await answer.json())["status"] == "down"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), timeout=20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
