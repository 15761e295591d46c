"""Open breakers: how long, who may probe, what closes them."""

from __future__ import annotations

import pytest

from headrace.runtime.store.breakers import FIRST_OPEN_MS, MAX_OPEN_MS, DependencyBreakers
from headrace.runtime.store.database import Database


@pytest.fixture
def database(config):
    database = Database(config, appname="test")
    yield database
    database.close()


@pytest.fixture
def breakers(database):
    return DependencyBreakers(database)


async def over(database, name="mail"):
    await database.handle["breakers"].update_one(
        {"_id": name}, [{"$set": {"open_until": "$$NOW", "probe_until": None}}]
    )


async def test_a_failure_opens_and_what_began_before_changes_nothing(breakers):
    await breakers.fail("mail", job_type="a", error="$no")
    (first,) = await breakers.all()
    assert (first.name, first.state, first.failures, first.types, first.error) == ("mail", "open", 1, ("a",), "$no")
    assert FIRST_OPEN_MS / 1000 - 2 < first.retry_in_seconds <= FIRST_OPEN_MS / 1000
    await breakers.fail("mail", job_type="b", error="again")
    (second,) = await breakers.all()
    assert (second.failures, second.types) == (1, ("a", "b"))
    assert second.retry_in_seconds <= first.retry_in_seconds


async def test_only_when_its_time_is_over_one_may_probe_at_a_time(breakers, database):
    assert not await breakers.probe("mail")
    await breakers.fail("mail", job_type="a", error="")
    assert not await breakers.probe("mail")
    await over(database)
    assert (await breakers.all())[0].state == "half-open"
    assert [await breakers.probe("mail") for _ in range(3)] == [True, False, False]


async def test_each_failed_probe_doubles_the_time_up_to_a_limit(breakers, database):
    for failures in range(1, 9):
        await breakers.fail("mail", job_type="a", error="")
        (found,) = await breakers.all()
        assert found.failures == failures
        limit = min(MAX_OPEN_MS, FIRST_OPEN_MS * 2 ** (failures - 1)) / 1000
        assert limit - 2 < found.retry_in_seconds <= limit
        await over(database)
        assert await breakers.probe("mail")


async def test_a_closed_one_is_gone_and_types_are_told_which_are_open(breakers):
    await breakers.fail("b", job_type="x", error="")
    await breakers.fail("a", job_type="y", error="")
    await breakers.meet("a", "x")
    await breakers.meet("nobody", "x")
    assert await breakers.of_type("x") == ["a", "b"]
    assert await breakers.close("a")
    assert not await breakers.close("a")
    assert await breakers.of_type("x") == ["b"]


async def test_mongodb_forgets_them_by_itself(database):
    await database.ensure_indexes()
    assert "forgotten" in await database.handle["breakers"].index_information()
