"""Stores that are watched: before the start, in `/readyz`, in the metrics, in the log."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import ConfigError, StoreUnavailableError
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.web import watched
from headrace.runtime.web.app import make_app
from headrace.runtime.web.watched import Watched, refuse_wrong_setup, watch
from headrace.testing.eventually import eventually


class Store:
    """Answers as it is told."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.sleep = 0.0

    async def look(self) -> None:
        await asyncio.sleep(self.sleep)
        if self.error is not None:
            raise self.error


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(watched, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(watched, "ANSWER_SECONDS", 0.2)
    return Store()


def app_of(store: Store, *, reset_seconds: float = 0.1) -> web.Application:
    it = Watched(Breaker("redis", reset_seconds=reset_seconds), store.look)
    app = make_app(JobConfig(), name="test", routes=(), checks={"redis": it.check}, tokens=None)
    refuse_wrong_setup(app, it)
    watch(app, it)
    return app


async def test_a_store_that_is_set_up_wrongly_ends_the_start(store: Store) -> None:
    store.error = ConfigError("must be noeviction")
    runner = web.AppRunner(app_of(store))
    with pytest.raises(ConfigError, match="noeviction"):
        await runner.setup()
    await runner.cleanup()


async def test_a_store_that_is_away_does_not(store: Store, aiohttp_client) -> None:
    store.error = StoreUnavailableError("away")
    with capture_logs() as logs:
        client = await aiohttp_client(app_of(store, reset_seconds=60))
        await eventually(lambda: "breaker.opened" in [line["event"] for line in logs])
    assert "store.absent_at_start" in [line["event"] for line in logs]
    assert 'job_breaker_open{breaker="redis"} 1.0' in await (await client.get("/metrics")).text()
    ready = await client.get("/readyz")
    assert ready.status == 503
    assert (await ready.json())["checks"]["redis"]["breaker"] == "open"


async def test_a_store_that_comes_later_makes_the_service_ready_or_is_refused_then(
    store: Store, aiohttp_client
) -> None:
    store.error = StoreUnavailableError("away")
    client = await aiohttp_client(app_of(store))

    async def says(status: int, word: str) -> bool:
        response = await client.get("/readyz")
        return response.status == status and word in await response.text()

    await eventually(lambda: says(503, "away"))
    with capture_logs() as logs:
        store.error = ConfigError("must be noeviction")
        await eventually(lambda: says(503, "noeviction"))
        await eventually(lambda: "duty.failed" in [line["event"] for line in logs])
    store.error = None
    await eventually(lambda: says(200, '"closed"'))


async def test_a_frozen_store_is_one_that_does_not_answer(store: Store) -> None:
    store.sleep = 5
    result = await Watched(Breaker("redis"), store.look).check()
    assert not result.ok
    assert "does not answer" in result.detail
