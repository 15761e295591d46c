"""The scheduler's application on real stores, in the test's own process."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import ExecutionPolicy
from headrace.runtime.process import failpoints
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.database import Database
from headrace.runtime.store.job_types import JobType, JobTypes
from headrace.runtime.web.auth import hash_token
from headrace.scheduler.app import build_app

ECHO_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0}, "x": {"type": "number"}, "word": {"type": "string"}},
    "additionalProperties": False,
}
TYPES = (
    JobType("any", ExecutionPolicy(pool="default"), {}),
    JobType("echo", ExecutionPolicy(pool="cpu", timeout_seconds=60, max_retries=2), ECHO_SCHEMA, contract_version=3),
)

Client = TestClient[web.Request, web.Application]
MakeApi = Callable[..., Awaitable["Api"]]


class Api:
    """What a client of the API does, with the parts behind it within reach."""

    def __init__(self, client: Client, config: JobConfig, database: Database) -> None:
        self.client = client
        self.config = config
        self.database = database
        self.app = client.app

    async def complete(self, *pools: str) -> None:
        """Declare pools complete in Redis, as recovery does after a rebuild."""
        queue = RedisJobQueue(
            redis_client(self.config.redis_url, kind="command", name="test"), namespace=self.config.namespace
        )
        for pool in pools or ("default", "cpu"):
            assert await queue.finish_rebuild(pool, await queue.begin_rebuild(pool))
        await queue.close()

    async def post(self, body: Any = None, *, raw: bytes | None = None, **headers: str) -> ClientResponse:
        """`POST /v1/jobs`; header names are written with underscores."""
        sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        data = json.dumps(body).encode() if raw is None else raw
        return await self.client.post("/v1/jobs", data=io.BytesIO(data), headers=sent)

    async def submit(self, **fields: Any) -> dict[str, Any]:
        """Submit a job that is accepted; returns its view."""
        response = await self.post({"type": "any", "payload": {}} | fields)
        assert response.status == 201, await response.text()
        return await response.json()

    async def get(self, path: str, **headers: str) -> Any:
        """The JSON of a GET that succeeds."""
        response = await self.client.get(path, headers=headers)
        assert response.status == 200, await response.text()
        return await response.json()

    async def cancel(self, job_id: str, **headers: str) -> ClientResponse:
        """`POST /v1/jobs/{id}/cancel`."""
        return await self.client.post(f"/v1/jobs/{job_id}/cancel", headers=headers)

    @staticmethod
    async def problem(response: ClientResponse, status: int, code: str) -> dict[str, Any]:
        """Check that the answer is this problem, and return it."""
        assert response.content_type == "application/problem+json", await response.text()
        problem: dict[str, Any] = json.loads(await response.text())
        assert (response.status, problem["type"]) == (status, f"/problems/{code}"), problem
        assert problem["status"] == status
        assert problem["title"]
        assert problem["detail"]
        return problem

    @staticmethod
    def bearer(name: str) -> dict[str, str]:
        """The header of a token of `tokens_file`."""
        return {"Authorization": f"Bearer {name}-secret"}

    async def count(self) -> int:
        """How many job documents there are."""
        return int(await self.database.jobs.count_documents({}))


@pytest.fixture
async def make_api(aiohttp_client: Any) -> AsyncIterator[MakeApi]:
    """Starts the scheduler on the stores of a configuration, with the job types registered."""
    opened: list[Database] = []

    async def make(config: JobConfig, *, register: bool = True) -> Api:
        database = Database(config, appname="test")
        opened.append(database)
        if register:
            await JobTypes(database).register(TYPES)
        return Api(await aiohttp_client(build_app(config)), config, database)

    yield make
    for database in opened:
        database.close()


@pytest.fixture
async def api(make_api: MakeApi, config: JobConfig) -> Api:
    """The scheduler on the shared stores, no tokens."""
    return await make_api(config)


@pytest.fixture
async def queue(config: JobConfig) -> AsyncIterator[RedisJobQueue]:
    """The test's own look at the shared Redis."""
    opened = RedisJobQueue(redis_client(config.redis_url, kind="command", name="test"), namespace=config.namespace)
    yield opened
    await opened.close()


@pytest.fixture
def failpoint() -> Iterator[Callable[[str], None]]:
    """Arms failpoints in this process; they are off again after the test."""
    yield failpoints.install
    failpoints.install("")


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    """Tokens `NAME-secret` for every scope, and two tenants."""
    tables = {
        "submitter": (["submit"], None),
        "other-submitter": (["submit"], None),
        "reader": (["read"], None),
        "operator": (["operate", "read"], None),
        "admin": (["admin"], None),
        "red": (["submit", "read", "operate"], "red"),
        "blue": (["submit", "read", "operate"], "blue"),
    }
    lines = []
    for name, (scopes, tenant) in tables.items():
        lines += [f"[{name}]", f'hash = "{hash_token(name + "-secret")}"', f"scopes = {json.dumps(scopes)}"]
        lines += [f'tenant = "{tenant}"'] if tenant else []
    path = tmp_path / "tokens.toml"
    path.write_text("\n".join(lines))
    return path
