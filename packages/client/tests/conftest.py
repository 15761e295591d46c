"""A scripted server for what real services do seldom, and real services for everything else."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from headrace.client import Client
from headrace.client.cli.app import app
from headrace.local.mongo_server import MongoServer
from headrace.local.ports import free_port
from headrace.local.redis_server import RedisServer
from headrace.local.service import ServiceProcess, service_spec
from headrace.testing.eventually import eventually

JOB_ID = "0199aaaa-0000-7000-8000-000000000001"


class Server:
    """A real HTTP server that answers what the test lays out, one answer per request."""

    def __init__(self) -> None:
        self.answers: list[Callable[[web.Request], Any] | web.StreamResponse] = []
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.peers: list[Any] = []
        self.url = ""

    @staticmethod
    def job(**changes: Any) -> dict[str, Any]:
        now = "2025-01-01T00:00:00.000Z"
        return {
            "id": JOB_ID, "type": "noop", "pool": "default", "priority": "medium", "state": "queued", "indexed": True,
            "attempt": 0, "failures": 0, "crashes": 0, "max_retries": 3, "timeout_seconds": 60.0, "created_at": now,
            "run_at": now, "claimed_at": None, "started_at": None, "finished_at": None, "progress": None,
            "checkpoint_at": None, "cancel_requested_at": None, "error": None, "tags": {}, "owner": None,
            "unique_key": None, "replay_of": None, "discarded_at": None, "payload": {}, "result": None,
        } | changes  # fmt: skip

    @staticmethod
    def problem(code: str, status: int, headers: dict[str, str] | None = None, **more: Any) -> web.Response:
        document = {"type": f"/problems/{code}", "title": code, "status": status, "detail": f"about {code}"} | more
        return web.json_response(document, status=status, headers=headers, content_type="application/problem+json")

    @staticmethod
    def json(value: Any) -> web.Response:
        return web.json_response(value)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path_qs, dict(request.headers), body))
        self.peers.append(request.transport and request.transport.get_extra_info("peername"))
        answer = self.answers.pop(0)
        if not callable(answer) or isinstance(answer, web.StreamResponse):
            return answer
        found = answer(request)
        return await found if asyncio.iscoroutine(found) else found


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/base/"
    yield found
    await runner.cleanup()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(server.url, token="secret", tries=3) as client:
        yield client


@dataclass(frozen=True)
class Services:
    """A scheduler and a worker as processes."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a command that is to find them."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "JOB_"))}
        return {**kept, "HEADRACE_URL": self.url, "NO_COLOR": "1"}


class CommandLine:
    """Runs `headrace` in the test's own process."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *words: str, code: int = 0, stdin: str | None = None, **environment: str) -> Result:
        """Run a command that ends with this exit code."""
        found = CliRunner().invoke(app, list(words), input=stdin, env={"HEADRACE_URL": self.url, **environment})
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        assert found.exit_code == code, (found.exit_code, found.output)
        return found

    def json(self, *words: str, code: int = 0, **more: Any) -> Any:
        """The JSON that a command prints."""
        return json.loads(self(*words, "--json", code=code, **more).stdout)

    def lines(self, *words: str) -> list[Any]:
        """The lines of JSON that a command prints."""
        return [json.loads(line) for line in self(*words, "--json").stdout.splitlines()]


@pytest.fixture
def headrace(services: Services) -> CommandLine:
    """The command line, and services behind it."""
    return CommandLine(services.url)


@pytest.fixture
def headrace_at() -> type[CommandLine]:
    """The command line for a server of the test's own."""
    return CommandLine


@pytest.fixture(scope="session")
def services(
    redis_server: RedisServer, mongo_server: MongoServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    """A real scheduler and a real worker with the testing kit's executors, shared by all tests of a run."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    logs = tmp_path_factory.mktemp("logs")
    env = dict(os.environ) | {
        "JOB_REDIS_URL": redis_server.url,
        "JOB_MONGO_URL": mongo_server.url,
        "JOB_MONGO_DATABASE": name,
        "JOB_NAMESPACE": name,
        "JOB_TEST_MODE": "1",
        "JOB_CRAWL_ALLOW_PRIVATE": "1",
        "JOB_SHUTDOWN_GRACE_SECONDS": "2",
    }
    processes = [
        ServiceProcess(service_spec(part, 0), port=free_port(), env=env, log_file=logs / f"{part}.log")
        for part in ("scheduler", "worker")
    ]
    try:
        with asyncio.Runner() as runner:
            runner.run(_until_ready(processes))
        yield Services(processes[0].url)
    except BaseException:
        for log in sorted(Path(logs).glob("*.log")):
            sys.stdout.write(f"----- {log.name}\n{log.read_text(errors='replace')[-4000:]}\n")
        raise
    finally:
        for process in processes:
            process.kill()
        mongo_server.drop_database(name)


async def _until_ready(processes: list[ServiceProcess]) -> None:
    async with aiohttp.ClientSession() as session, Client(processes[0].url) as client:

        async def probe() -> bool:
            ready = [await process.is_ready(session) for process in processes]
            assert all(ready), ready
            assert len(await client.job_types()) >= 7
            return True

        await eventually(probe, within=120, what="scheduler and worker are ready")
