"""The model stores beside the real ones: the same code of the product over each, and answers made comparable."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from pydantic import BaseModel

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import HeadraceError
from headrace.runtime.queue import RedisJobQueue
from headrace.runtime.store import database as database_module
from headrace.runtime.store.database import Database

from .expressions import to_ms
from .mongo_client import Handle
from .mongo_server import MongoModel
from .network import Errors, Work
from .redis_client import Board, Client
from .redis_server import RedisModel

T = TypeVar("T")

BUCKET_MS = 20_000
"""Times that are less apart than about half of this are the same: the two stores are asked one after the other."""


AGES = frozenset({"changed_ms_ago"})
"""Fields that say how long ago something was."""


class DirectNetwork:
    """A network without distance."""

    async def call(self, store: str, name: str, work: Work, *, errors: Errors, deadline: float) -> Any:
        """Do it at once."""
        outcome = work()
        if isinstance(outcome, Generator):
            while True:
                try:
                    next(outcome)
                except StopIteration as end:
                    return end.value
        return outcome


NETWORK: Any = DirectNetwork()


def redis_model() -> RedisModel:
    """A model Redis by the clock of this machine."""
    return RedisModel(lambda: time.time_ns() // 1000, random.Random(0))


def model_queue(server: RedisModel, namespace: str) -> RedisJobQueue:
    """The product's queue over a model Redis."""
    redis: Any = Client(server, NETWORK, Board(), answer_seconds=1.0)
    return RedisJobQueue(redis, namespace=namespace)


class _Driver:
    """Stands for the module that knows the driver."""

    def __init__(self, server: MongoModel) -> None:
        self._server = server

    def connect(self, url: str, **options: Any) -> None:
        return None

    def database(self, client: Any, name: str) -> Handle:
        return Handle(self._server, NETWORK)

    def close(self, client: Any) -> None:
        return None


def model_database() -> Database:
    """The product's database over a model MongoDB by the clock of this machine."""
    server = MongoModel(lambda: datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1000, UTC))
    with _driver(_Driver(server)):
        return Database(JobConfig(), appname="model")


@contextmanager
def _driver(driver: Any) -> Generator[None, None, None]:
    real = database_module.mongo_driver
    database_module.mongo_driver = driver  # type: ignore[misc]
    try:
        yield
    finally:
        database_module.mongo_driver = real  # type: ignore[misc]


def for_any(examples: int, strategy: SearchStrategy[T], run: Callable[[T], None]) -> None:
    """Run with so many examples, the same ones every time; the first that fails is told as it is, not made smaller."""

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(example: T) -> None:
        run(example)

    each()


async def answer_of(call: Any) -> Any:
    """What a call answers, or the error it ends in."""
    try:
        return await call
    except (HeadraceError, ValueError) as error:
        return type(error).__name__


def plain(value: Any, now_ms: int) -> Any:
    """A value without what must differ between two stores: times become their distance from now, in large steps."""
    if isinstance(value, datetime):
        return f"now{_steps(to_ms(value), now_ms):+}"
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, BaseModel):
        return plain(value.model_dump(), now_ms)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({name.name: getattr(value, name.name) for name in dataclasses.fields(value)}, now_ms)
    if isinstance(value, Mapping):
        return {str(name): _ago(item) if name in AGES else plain(item, now_ms) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, now_ms) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(item, now_ms) for item in value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value - now_ms) < 1_000_000_000:
        return f"now{_steps(int(value), now_ms):+}"
    return value


def _ago(milliseconds: float) -> int:
    return round(milliseconds / BUCKET_MS)


def _steps(moment_ms: int, now_ms: int) -> int:
    return round((moment_ms - now_ms) / BUCKET_MS)
