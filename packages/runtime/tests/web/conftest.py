from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from headrace.contracts.config import JobConfig
from headrace.runtime.web.app import make_app
from headrace.runtime.web.routes import Route

Serve = Callable[..., Awaitable[TestClient]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves routes on loopback and gives the client; `prepare` may add to the application before it starts."""
    clients = []

    async def start(
        *routes: Route, checks: Any = None, tokens: Any = None, optional: Any = (), prepare: Any = None, **settings: Any
    ):
        app = make_app(
            JobConfig(**settings), name="sample", routes=routes, checks=checks or {}, tokens=tokens, optional=optional
        )
        if prepare is not None:
            prepare(app)
        client = TestClient(TestServer(app))
        clients.append(client)
        await client.start_server()
        return client

    yield start
    for client in clients:
        await client.close()
