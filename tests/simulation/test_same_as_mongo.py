"""The model MongoDB does what a real one does: any sequence of the store's verbs has equal answers and effects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import SecretStr
from tests.simulation.store_verbs import VERBS, Store, steps
from tests.simulation.twins import answer_of, for_any, model_database, plain

from headrace.contracts.config import JobConfig
from headrace.local.stores import MongoServer
from headrace.runtime.store.database import Database


class Pair:
    """A real store and a model one."""

    def __init__(self, real: Database) -> None:
        self._real = real

    async def run(self, sequence: list[tuple[str, tuple[Any, ...]]]) -> None:
        """Do the same on both and compare answers, and all documents whenever something was written."""
        for collection in (self._real.jobs, self._real.workers, self._real.leases, self._real.pools):
            await collection.delete_many({})
        real, model = Store(self._real), Store(model_database())
        await model.database.ensure_indexes()
        for number, (name, arguments) in enumerate(sequence):
            verb = VERBS[name][0]
            now_ms = int(time.time() * 1000)
            expected = plain(await answer_of(verb(real, *arguments)), now_ms)
            found = plain(await answer_of(verb(model, *arguments)), now_ms)
            assert found == expected, f"step {number}: {name}{arguments}"
        now_ms = int(time.time() * 1000)
        expected, found = plain(await real.documents(), now_ms), plain(await model.documents(), now_ms)
        assert found == expected, f"after {[name for name, _ in sequence]}"


@contextmanager
def a_pair(runner: asyncio.Runner, server: MongoServer, name: str) -> Iterator[Pair]:
    """A pair on a database of this test's own."""

    async def make() -> Database:
        config = JobConfig(mongo_url=SecretStr(server.url), mongo_database=name)
        database = Database(config, appname="twin")
        await database.ensure_indexes()
        return database

    database = runner.run(make())
    try:
        yield Pair(database)
    finally:
        database.close()


def compare(server: MongoServer, name: str, examples: int) -> None:
    """Run so many sequences."""
    with asyncio.Runner() as runner, a_pair(runner, server, name) as pair:
        for_any(examples, steps, lambda sequence: runner.run(pair.run(sequence)))


def test_any_sequence_of_verbs_has_equal_answers(mongo_server: MongoServer, mongo_database: str) -> None:
    compare(mongo_server, mongo_database, 20)


@pytest.mark.slow
def test_any_of_many_sequences_has_equal_answers(mongo_server: MongoServer, mongo_database: str) -> None:
    compare(mongo_server, mongo_database, 300)
