"""One kit for all store tests: the parts on a database of the test's own, jobs in any state, faults of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo import MongoClient, monitoring

from headrace.contracts.config import JobConfig
from headrace.contracts.job import Job, LogEntry
from headrace.contracts.states import TERMINAL, JobState, Reason
from headrace.local.stores import MongoServer
from headrace.runtime.store import mongo_driver
from headrace.runtime.store.database import Database
from headrace.runtime.store.documents import to_document
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.reads import Reads
from headrace.runtime.store.state_manager import JobStateManager
from headrace.testing.builders import make_job

OWNER, TOKEN = "w-own", "token-own"


@dataclass(repr=False)
class Kit:
    """The parts under test, and a blocking client to prepare and to look behind them."""

    database: Database
    manager: JobStateManager
    reads: Reads
    incarnations: Incarnations
    raw: Any
    admin: Any
    appname: str
    commands: list[dict[str, Any]] = field(default_factory=list)

    async def put(self, **fields: Any) -> Job:
        """Insert a queued job the normal way."""
        job = make_job(**fields)
        (answer,) = await self.manager.insert([job])
        assert answer.verdict == "created"
        return job

    async def running(self, *, owner: str = OWNER, token: str = TOKEN, **fields: Any) -> Job:
        """Insert a job and claim it the normal way."""
        job = await self.put(**fields)
        (claimed,) = await self.manager.claim([job.id], token=token, owner=owner, types=[job.type])
        return claimed

    def place(self, state: JobState, *, cancel_requested: bool = False, **fields: Any) -> Job:
        """Write a job straight into any state, at its second attempt, with the log that leads there."""
        job = make_job()
        times = {"claimed_at": job.created_at} if state is not JobState.QUEUED else {}
        if state is JobState.PROCESSING:
            times |= {"owner": OWNER, "claim_token": TOKEN}
        if state in TERMINAL:
            times |= {"finished_at": job.created_at}
        if cancel_requested or state is JobState.CANCELLED:
            times |= {"cancel_requested_at": job.created_at}
        steps = [(JobState.QUEUED, JobState.PROCESSING, 1, Reason.CLAIMED)]
        steps += [(JobState.PROCESSING, JobState.QUEUED, 1, Reason.RETRY)]
        if state is not JobState.QUEUED:
            steps += [(JobState.QUEUED, JobState.PROCESSING, 2, Reason.CLAIMED)]
        if state in TERMINAL:
            steps += [(JobState.PROCESSING, state, 2, Reason(state.value))]
        log = [*job.log]
        for number, (before, after, attempt, reason) in enumerate(steps, start=1):
            log.append(
                LogEntry(
                    seq=number, from_=before, to=after, attempt=attempt, owner=OWNER, by="somebody-else",
                    at=job.created_at, reason=reason,
                )
            )  # fmt: skip
        attempt = 1 if state is JobState.QUEUED else 2
        job = job.evolve(state=state, attempt=attempt, log=tuple(log), failures=1, **(times | fields))
        self.raw.jobs.insert_one(to_document(job))
        return job

    def document(self, job_id: str) -> dict[str, Any]:
        """The document as it stands."""
        found = self.raw.jobs.find_one({"_id": job_id})
        assert found is not None
        return dict(found)

    @contextmanager
    def failing(self, *commands: str, times: int | None = None, **data: Any) -> Iterator[None]:
        """Let the server fail commands of this test's own connections, so many times or as long as this lasts."""
        mode = "alwaysOn" if times is None else {"times": times}
        self._fail_point(mode, {"failCommands": list(commands), "appName": self.appname, **data})
        try:
            yield
        finally:
            self._fail_point("off", None)

    def _fail_point(self, mode: Any, data: dict[str, Any] | None) -> None:
        self.admin.command({"configureFailPoint": "failCommand", "mode": mode} | ({"data": data} if data else {}))


class _Recorder(monitoring.CommandListener):
    def __init__(self, commands: list[dict[str, Any]]) -> None:
        self._commands = commands

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name not in {"hello", "ismaster", "endSessions"}:
            self._commands.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nobody asks."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nobody asks."""


@contextmanager
def _kit(config: JobConfig, client: MongoClient[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Kit]:
    commands: list[dict[str, Any]] = []
    make_client: Callable[..., Any] = mongo_driver.AsyncIOMotorClient
    with monkeypatch.context() as patch:
        patch.setattr(
            mongo_driver,
            "AsyncIOMotorClient",
            lambda *args, **options: make_client(*args, event_listeners=[_Recorder(commands)], **options),
        )
        database = Database(config, appname=config.mongo_database)
    try:
        yield Kit(
            database=database,
            manager=JobStateManager(database, retention_days=2, dead_retention_days=0),
            reads=Reads(database),
            incarnations=Incarnations(database),
            raw=client.get_database(config.mongo_database, codec_options=mongo_driver.AwareDocument),
            admin=client.admin,
            appname=config.mongo_database,
            commands=commands,
        )
    finally:
        database.close()


@pytest.fixture
async def kit(config: JobConfig, mongo_server: MongoServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kit]:
    """The store's parts on the shared MongoDB, indexes made."""
    with mongo_server.client() as client, _kit(config, client, monkeypatch) as kit:
        await kit.database.ensure_indexes()
        kit.commands.clear()
        yield kit


@pytest.fixture
async def lone_kit(own_mongo: MongoServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kit]:
    """The store's parts on `own_mongo`, which the test may stop."""
    config = JobConfig(mongo_url=own_mongo.url)  # type: ignore[arg-type]
    with own_mongo.client() as client, _kit(config, client, monkeypatch) as kit:
        await kit.database.ensure_indexes()
        yield kit


@pytest.fixture
def now() -> datetime:
    """The time to the millisecond, as MongoDB keeps it."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
