"""Indexes as they are defined now, also in a database where an earlier version has made them otherwise."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from pymongo import IndexModel
from pymongo.errors import OperationFailure

from headrace.contracts.errors import ConfigError

CONFLICTS = frozenset({85, 86})
"""What a server answers to a known name with other options, or with other keys."""
ABORTED = frozenset({276})
"""Somebody dropped the index while it was built."""
GONE = 27
TRIES = 10
PAUSE_SECONDS = 0.1
OPTIONS = ("unique", "partialFilterExpression", "expireAfterSeconds")

log = structlog.get_logger(__name__)


async def ensure(collection: Any, models: Sequence[IndexModel]) -> None:
    """Create what is missing, and replace what has our name and another definition.

    A query whose index is replaced reads without it until the new one is there: seconds for a million jobs. Any number
    of processes may do this at once.

    Args:
        collection: The collection.
        models: Every index that the collection should have. Others are left alone.

    Raises:
        ConfigError: A unique index differs. It is not dropped, because what it forbids could happen until the new one
            is there; a changed one needs a name of its own.
    """
    for last in range(TRIES - 1, -1, -1):
        try:
            await collection.create_indexes(list(models))
            return
        except OperationFailure as error:
            if not last or error.code not in CONFLICTS | ABORTED:
                raise
        await _drop_changed(collection, models)
        await asyncio.sleep(random.uniform(0.0, PAUSE_SECONDS))  # others may be doing the same


async def _drop_changed(collection: Any, models: Sequence[IndexModel]) -> None:
    found = {index["name"]: index async for index in collection.list_indexes()}
    for model in models:
        wanted: Mapping[str, Any] = model.document
        name = wanted["name"]
        if name not in found or _definition(found[name]) == _definition(wanted):
            continue
        if wanted.get("unique") or found[name].get("unique"):
            raise ConfigError(
                f"MongoDB: the unique index {name} of {collection.name} has another definition than this version's; "
                "stop every scheduler, drop it by hand, and start again"
            )
        log.warning("store.index_replaced", collection=collection.name, index=name)
        # By its keys where they differ: somebody else may have put the new one in its place since the look.
        is_moved = _keys(found[name]) != _keys(wanted)
        try:
            await collection.database.command(
                "dropIndexes",
                collection.name,
                index=dict(_keys(found[name])) if is_moved else name,
                writeConcern={"w": "majority"},
            )
        except OperationFailure as error:
            if error.code != GONE:
                raise


def _definition(index: Mapping[str, Any]) -> tuple[Any, ...]:
    return _keys(index), *(index.get(name) for name in OPTIONS)


def _keys(index: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, int(order)) for name, order in index["key"].items()]
