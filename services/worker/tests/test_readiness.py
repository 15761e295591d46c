"""A worker is ready when what is submitted now would be run by it."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.test_utils import TestClient, TestServer
from worker_stage import Stage

from headrace.contracts.config import JobConfig
from headrace.runtime.store.database import Database
from headrace.runtime.store.job_types import JobTypes
from headrace.testing.eventually import eventually
from headrace.worker.app import SERVICE, build_app


async def test_it_is_not_ready_before_its_types_are_registered(
    stage: Stage, worker_config: JobConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its children may claim before: a scheduler would refuse jobs of a type that nobody has registered."""
    may_go_on = asyncio.Event()
    ensure = Database.ensure_indexes

    async def ensure_later(database: Database) -> None:
        await may_go_on.wait()  # as building an index may take
        await ensure(database)

    monkeypatch.setattr(Database, "ensure_indexes", ensure_later)
    app = build_app(worker_config)
    async with TestClient(TestServer(app)) as client:
        pools = app[SERVICE].pools
        await eventually(lambda: pools is not None and pools.is_ready(), within=30, what="its children claim")
        async with client.get("/readyz") as answer:
            assert answer.status == 503
            assert (await answer.json())["checks"]["children"]["detail"] == "its job types are not registered"
        may_go_on.set()

        async def ready() -> bool:
            async with client.get("/readyz") as answer:
                return answer.status == 200

        await eventually(ready, within=30)
        assert "noop" in {item.type for item in await JobTypes(stage.database).all()}
