"""What operators set for pools, and the record of what they did."""

from __future__ import annotations

from typing import Any

from headrace.runtime.store.audit import AuditLog
from headrace.runtime.store.persistent_queue import PersistentJobQueue
from headrace.runtime.store.pools import Pools, PoolSettings


async def test_a_pool_without_settings_has_the_defaults(kit: Any) -> None:
    assert await Pools(kit.database).settings("p") == PoolSettings("p")
    assert await Pools(kit.database).all() == {}


async def test_a_pause_is_seen_by_all_who_look_until_it_is_resumed(kit: Any) -> None:
    pools = Pools(kit.database)
    assert await pools.pause("p", "a fire", "me") == PoolSettings("p", paused=True, paused_reason="a fire")
    assert await kit.reads.paused() == {"p": "a fire"}
    assert (await PersistentJobQueue(kit.database).claim("p", token="t", count=1)).paused
    assert await pools.resume("p", "me") == PoolSettings("p")
    assert await kit.reads.paused() == {}
    await PersistentJobQueue(kit.database).pause("p", True, "by the queue")
    assert (await pools.settings("p")).paused_reason == "by the queue"


async def test_sizes_change_one_by_one_and_go_back_to_their_defaults(kit: Any) -> None:
    pools = Pools(kit.database)
    assert await pools.patch("p", size_limit=9, min_slots=0, by="me") == PoolSettings("p", size_limit=9, min_slots=0)
    assert await pools.patch("p", max_slots=4, by="me") == PoolSettings("p", size_limit=9, min_slots=0, max_slots=4)
    await pools.pause("p", "", "me")
    assert await pools.patch("p", size_limit=None, by="me") == PoolSettings(
        "p", paused=True, paused_reason="", min_slots=0, max_slots=4
    )
    assert list(await pools.all()) == ["p"]


async def test_audit_entries_come_newest_first_in_pages(kit: Any) -> None:
    audit = AuditLog(kit.database)
    for number in range(5):
        await audit.write(who="me", tenant="red" if number % 2 else None, action="cancel", target=f"job-{number}")
    await audit.write(who="you", tenant=None, action="discard", filter={"fingerprint": "$f"}, count=7)
    first = await audit.page(None, 2)
    assert [(entry.action, entry.target, entry.count) for entry in first] == [
        ("discard", None, 7),
        ("cancel", "job-4", 1),
    ]
    assert (first[0].who, first[0].filter, first[0].at.tzinfo is not None) == ("you", {"fingerprint": "$f"}, True)
    rest = await audit.page(first[-1].id, 9)
    assert [entry.target for entry in rest] == ["job-3", "job-2", "job-1", "job-0"]
    assert [entry.target for entry in await audit.page(None, 9, tenant="red")] == ["job-3", "job-1"]
