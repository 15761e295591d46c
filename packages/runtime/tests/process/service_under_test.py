"""A small service, run as a process by the tests: its drain, its start and its end are steered by the environment."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator

from aiohttp import web

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import ConfigError
from headrace.runtime.process import lifecycle
from headrace.runtime.process.service import run_service
from headrace.runtime.web.app import load_tokens, make_app

MODE = os.environ.get("MODE", "")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def opened(_app: web.Application) -> AsyncIterator[None]:
    if MODE == "bad-start":
        raise ConfigError("JOB_REDIS_URL: the server\nevicts keys")
    if MODE == "broken-start":
        raise RuntimeError("a bug")
    say("opened")
    yield
    say("closed")


async def drain() -> None:
    say("draining")
    if MODE == "broken-drain":
        raise RuntimeError("a bug")
    await asyncio.sleep(60 if MODE == "long-drain" else 0.3)
    say("drained")


def build(config: JobConfig) -> web.Application:
    app = make_app(config, name="sample", routes=[], checks={}, tokens=load_tokens(config))
    app.cleanup_ctx.append(opened)
    if MODE != "no-drain":
        lifecycle.on_drain(app, drain)
    return app


async def build_later(config: JobConfig) -> web.Application:
    await asyncio.sleep(0)
    return build(config)


if __name__ == "__main__":
    sys.exit(run_service(build_later if MODE == "later" else build, name="sample", default_port=0))
