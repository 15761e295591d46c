"""A database whose indexes an earlier version has made."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace.contracts.errors import ConfigError

OLDER: dict[str, dict[str, Any]] = {
    "keys": {"keys": [("pool", 1), ("state", 1)], "name": "pending_in_claim_order"},
    "filter": {"keys": [("updated_at", 1)], "name": "moved"},
    "expiry": {"keys": [("expire_at", 1)], "name": "retention", "expireAfterSeconds": 60},
}


@pytest.mark.parametrize("change", OLDER)
async def test_an_index_of_an_earlier_version_is_replaced_by_however_many_start_at_once(kit: Any, change: str) -> None:
    now = kit.raw.jobs.index_information()
    older = dict(OLDER[change])
    kit.raw.jobs.drop_index(older["name"])
    kit.raw.jobs.create_index(older.pop("keys"), **older)
    kit.raw.jobs.create_index([("tags.team", 1)], name="an_operators_own")
    await asyncio.gather(*(kit.database.ensure_indexes() for _ in range(4)))
    found = kit.raw.jobs.index_information()
    assert found.pop("an_operators_own")
    assert found == now


async def test_a_unique_index_of_an_earlier_version_is_not_dropped(kit: Any) -> None:
    """Until the new one stood, one key could make two jobs."""
    kit.raw.jobs.drop_index("idempotency")
    kit.raw.jobs.create_index([("idempotency.key", 1)], name="idempotency", unique=True, sparse=True)
    with pytest.raises(ConfigError, match="idempotency of jobs has another definition"):
        await kit.database.ensure_indexes()
    assert "idempotency" in kit.raw.jobs.index_information()
