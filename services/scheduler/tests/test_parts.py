"""The small parts: clock, tasks, keys, payload schemas, registry."""

from __future__ import annotations

import asyncio
import json

import pytest
from pydantic import SecretStr

from headrace.contracts.errors import IdempotencyInFlightError, InvalidPayloadError, StoreUnavailableError
from headrace.contracts.executor import ExecutionPolicy
from headrace.runtime.process.breaker import Breaker
from headrace.runtime.store.database import Database
from headrace.runtime.store.job_types import JobType, JobTypes
from headrace.scheduler import keys as keys_module
from headrace.scheduler import tasks as tasks_module
from headrace.scheduler.clock import StoreClock
from headrace.scheduler.keys import KeysInFlight
from headrace.scheduler.links import MongoLink
from headrace.scheduler.payloads import PayloadChecker
from headrace.scheduler.registry import Registry
from headrace.scheduler.tasks import Tasks


def test_the_clock_is_the_local_one_until_redis_has_told_its_own():
    now = {"mono": 10.0, "wall": 1000.0}
    clock = StoreClock(monotonic=lambda: now["mono"], wall=lambda: now["wall"])
    assert clock.now_ms() == 1_000_000
    assert clock.observe(5_000_000) == 5_000_000
    now["mono"] += 1.5
    now["wall"] -= 3600
    assert clock.now_ms() == 5_001_500


async def test_work_afterwards_that_fails_is_forgotten_and_too_much_of_it_is_dropped(monkeypatch):
    monkeypatch.setattr(tasks_module, "MAX_AFTERWARDS", 2)
    tasks, ran = Tasks(), []

    async def work(n):
        ran.append(n)
        raise StoreUnavailableError("no store")

    for n in range(4):
        tasks.afterwards("work", work(n))
    await tasks.drain()
    assert ran == [0, 1]
    tasks.afterwards("work", work(9))
    await tasks.drain()
    assert ran == [0, 1, 9]


async def test_a_task_that_is_cancelled_ends_quietly():
    tasks = Tasks()
    task = tasks.start(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await tasks.drain()


async def _error_of(keys):
    try:
        async with keys.turn("scope", "key"):
            pytest.fail("held twice")
    except IdempotencyInFlightError as error:
        return error


async def test_a_key_is_held_by_one_and_free_after_a_failure(monkeypatch):
    monkeypatch.setattr(keys_module, "WAIT_SECONDS", 0.05)
    keys = KeysInFlight()

    async def hold_and_fail():
        async with keys.turn("scope", "key"):
            async with keys.turn("scope", "other"), keys.turn("other", "key"):
                pass
            raise await _error_of(keys)

    with pytest.raises(IdempotencyInFlightError):
        await hold_and_fail()
    async with keys.turn("scope", "key"):
        pass


def _told(schema, payload):
    with pytest.raises(InvalidPayloadError) as caught:
        PayloadChecker(schema).check(payload)
    return [(error.pointer, error.code) for error in caught.value.errors]


def test_findings_name_the_place_and_never_the_value():
    schema = {
        "type": "object",
        "required": ["must"],
        "properties": {"list": {"items": {"enum": ["a"]}}, "gone": False, "deep": {"required": ["x"]}},
        "propertyNames": {"pattern": "^[a-z]+$"},
        "unevaluatedProperties": False,
    }
    found = _told(schema, '{"list": ["a", "canary"], "gone": 1, "deep": {}, "other": 1, "UP": 2}')
    assert ("/payload/must", "required") in found
    assert ("/payload/list/1", "enum") in found
    assert ("/payload/gone", "falseSchema") in found
    assert ("/payload/deep/x", "required") in found
    assert ("/payload/other", "unevaluatedProperties") in found
    assert ("/payload", "propertyNames") in found


def test_at_most_fifty_findings_are_told():
    assert len(_told({"items": {"type": "string"}}, str(list(range(500))))) == 50
    many = json.dumps({f"k{n}": 1 for n in range(500)})
    assert len(_told({"properties": {"a": {}}, "additionalProperties": False}, many)) == 50


def test_a_type_that_takes_no_fields_says_so():
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    PayloadChecker(schema).check("{}")
    assert _told(schema, '{"q": 1, "r": 2}') == [
        ("/payload/q", "additionalProperties"),
        ("/payload/r", "additionalProperties"),
    ]


def test_messages_hide_the_value():
    schema = {"properties": {"a": {"anyOf": [{"type": "integer"}, {"const": 5}]}, "b": {"pattern": "^(x+)+$"}}}
    with pytest.raises(InvalidPayloadError) as caught:
        PayloadChecker(schema).check('{"a": "canary", "b": "%s canary"}' % ("x" * 5000))
    assert len(caught.value.errors) == 2
    assert "canary" not in "".join(error.detail for error in caught.value.errors)


@pytest.mark.parametrize("schema", [{"type": 12}, {"$ref": "http://127.0.0.1:1/x.json"}, {"pattern": "("}])
def test_what_is_no_schema_or_would_have_to_be_fetched_is_refused(schema):
    with pytest.raises(ValueError, match=r"."):
        PayloadChecker(schema)


@pytest.fixture
async def database(config):
    opened = Database(config, appname="test")
    yield opened
    opened.close()


async def test_a_type_whose_schema_is_none_is_known_but_takes_nothing_until_it_is_mended(database):
    types = JobTypes(database)
    registry = Registry(types, MongoLink(database, Breaker("mongo")))
    await types.register([JobType("odd", ExecutionPolicy(), {"type": 12})])
    odd = await registry.find("odd")
    with pytest.raises(InvalidPayloadError, match="cannot be used"):
        registry.check(odd, "1")
    await types.register([JobType("odd", ExecutionPolicy(), {"type": "integer"})])
    await registry.refresh()
    registry.check(await registry.find("odd"), "1")


async def test_a_checker_is_compiled_once_for_as_long_as_its_schema_stays(database):
    types = JobTypes(database)
    registry = Registry(types, MongoLink(database, Breaker("mongo")))
    await types.register([JobType("t", ExecutionPolicy(), {"type": "integer"})])
    await registry.refresh()
    before = registry._checkers["t"]
    await registry.refresh()
    assert registry._checkers["t"] is before
    await types.register([JobType("t", ExecutionPolicy(), {"type": "string"})])
    await registry.refresh()
    assert registry._checkers["t"] is not before


async def test_many_misses_at_once_read_once(database):
    types = JobTypes(database)
    registry = Registry(types, MongoLink(database, Breaker("mongo")))
    await types.register([JobType("t", ExecutionPolicy(), {})])
    await asyncio.gather(*(registry.find("t") for _ in range(20)))
    # The first, and one that began after the others had asked.
    assert registry._loads <= 2


async def test_an_index_build_that_failed_is_begun_again(config, own_mongo):
    config = config.model_copy(update={"mongo_url": SecretStr(own_mongo.url)})
    opened = Database(config, appname="test")
    link = MongoLink(opened, Breaker("mongo"))

    def fail(mode):
        with own_mongo.client() as client:
            data = {"failCommands": ["createIndexes"], "errorCode": 1}
            client.admin.command("configureFailPoint", "failCommand", mode=mode, data=data)

    await asyncio.to_thread(fail, "alwaysOn")
    with pytest.raises(Exception, match="failCommand"):
        await link.awake()
    await asyncio.to_thread(fail, "off")
    await link.awake()
    assert len(await opened.jobs.index_information()) > 5
    opened.close()
