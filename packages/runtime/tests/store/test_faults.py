"""A MongoDB that is away, frozen or changing: our errors, in bounded time, and nothing of the driver's."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
)

from headrace.contracts.errors import OutcomeUnknownError, StoreUnavailableError
from headrace.local.stores import MongoServer
from headrace.runtime.store import state_insert
from headrace.runtime.store.faults import reading, writing
from headrace.runtime.store.reads import JobQuery
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually

PRIMARY_GONE = [91, 189, 10107, 11600, 11602, 13435, 13436]


def kind_of(error: BaseException) -> str:
    return type(error).__name__


@pytest.mark.parametrize(
    ("error", "read", "write"),
    [
        (ServerSelectionTimeoutError(), "StoreUnavailableError", "StoreUnavailableError"),
        (AutoReconnect(), "StoreUnavailableError", "OutcomeUnknownError"),
        (NetworkTimeout(), "StoreUnavailableError", "OutcomeUnknownError"),
        (ExecutionTimeout("slow", 50), "StoreUnavailableError", "OutcomeUnknownError"),
        (WriteConcernError("slow", 64), "StoreUnavailableError", "OutcomeUnknownError"),
        *((OperationFailure("gone", code), "StoreUnavailableError", "OutcomeUnknownError") for code in PRIMARY_GONE),
        (OperationFailure("bad query", 2), "OperationFailure", "OperationFailure"),
        (DuplicateKeyError("there", 11000), "DuplicateKeyError", "DuplicateKeyError"),
        (BulkWriteError({"writeErrors": [{"code": 11000}]}), "BulkWriteError", "BulkWriteError"),
        (BulkWriteError({"writeConcernErrors": [{"code": 64}]}), "BulkWriteError", "OutcomeUnknownError"),
    ],
)
def test_an_error_of_the_driver_becomes_the_one_that_says_what_is_known(
    error: PyMongoError, read: str, write: str
) -> None:
    for guard, expected in ((reading, read), (writing, write)):
        with pytest.raises(Exception) as caught, guard("test"):  # noqa: PT011 -- which one is the question
            raise error
        assert kind_of(caught.value) == expected
        if expected != kind_of(error):
            assert caught.value.retry_after_seconds  # type: ignore[attr-defined]
            assert caught.value.__cause__ is None


async def test_a_cursor_whose_session_the_driver_mixed_up_is_a_store_that_is_away(kit: Any) -> None:
    """What happens around an election, by hand: begun in one session, continued in another."""
    await kit.put()
    await kit.put()
    database = kit.database.jobs.database
    async with await database.client.start_session() as one, await database.client.start_session() as other:
        begun = await database.command({"find": "jobs", "batchSize": 1}, session=one)
        more = {"getMore": begun["cursor"]["id"], "collection": "jobs"}
        with pytest.raises(OperationFailure, match="session"):
            await database.command(more, session=other)
        with pytest.raises(StoreUnavailableError), reading("more"):
            await database.command(more, session=other)


@pytest.mark.parametrize("code", [189, 10107, 13435])
async def test_a_primary_that_steps_down_once_is_not_noticed(kit: Any, code: int) -> None:
    data = {"errorCode": code, "errorLabels": ["RetryableWriteError"]}
    with kit.failing("insert", times=1, **data):
        job = await kit.put()
    with kit.failing("find", times=1, errorCode=code):
        assert await kit.reads.job(job.id) == job


@pytest.mark.slow
async def test_while_mongodb_is_away_every_call_says_so_within_two_seconds_and_it_comes_back(
    lone_kit: Any, own_mongo: MongoServer
) -> None:
    job = await lone_kit.put()
    own_mongo.kill()

    async def noticed() -> bool:
        with pytest.raises(StoreUnavailableError):
            await lone_kit.database.ping()
        return True

    await eventually(noticed)
    calls: dict[str, Any] = {
        "ping": lambda: lone_kit.database.ping(),
        "insert": lambda: lone_kit.manager.insert([make_job()]),
        "claim": lambda: lone_kit.manager.claim([job.id], token="t", owner="w", types=["noop"]),
        "settle": lambda: lone_kit.manager.cancel(job.id, by="api"),
        "read": lambda: lone_kit.reads.job(job.id),
        "list": lambda: lone_kit.reads.jobs(JobQuery()),
        "count": lambda: lone_kit.reads.count_pending("default", cap=10),
        "renew": lambda: lone_kit.incarnations.renew(["w"], lease_seconds=1),
    }
    for name, call in calls.items():
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError) as caught:
            await call()
        assert time.monotonic() - started < 2, name
        assert kind_of(caught.value) == "StoreUnavailableError", name
        assert "127.0.0.1" not in str(caught.value)
    await asyncio.to_thread(own_mongo.start)

    async def back() -> bool:
        try:
            return bool((await lone_kit.reads.job(job.id)).id == job.id)
        except StoreUnavailableError:
            return False

    await eventually(back)


async def test_a_frozen_mongodb_leaves_the_outcome_unknown_in_bounded_time_and_may_apply_it_later(
    lone_kit: Any, own_mongo: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_insert, "INSERT_SECONDS", 1.0)
    monkeypatch.setattr(state_insert, "LOOK_UP_SECONDS", 0.5)
    job, other = await lone_kit.put(), make_job()
    own_mongo.pause()
    try:
        started = time.monotonic()
        claim = asyncio.create_task(lone_kit.manager.claim([job.id], token="t", owner="w", types=["noop"]))
        (inserted,) = await lone_kit.manager.insert([other])
        assert inserted.verdict == "unknown"
        with pytest.raises(StoreUnavailableError):
            await lone_kit.reads.count_pending("default", cap=10)
        with pytest.raises(OutcomeUnknownError):
            await claim
        assert time.monotonic() - started < 7
    finally:
        own_mongo.resume()

    async def settled() -> bool:
        try:
            found = await lone_kit.manager.claimed(token="t", owner="w")
            again = await lone_kit.manager.insert([other])
        except StoreUnavailableError:
            return False
        assert [item.id for item in found] in ([], [job.id])
        return again[0].verdict == "created"

    await eventually(settled)
    assert lone_kit.raw.jobs.count_documents({"_id": other.id}) == 1


async def test_a_frozen_mongodb_does_not_hold_up_the_end_of_a_service(lone_kit: Any, own_mongo: MongoServer) -> None:
    await lone_kit.database.ping()
    own_mongo.pause()
    try:
        started = time.monotonic()
        lone_kit.database.close()
        assert time.monotonic() - started < 5
    finally:
        own_mongo.resume()
