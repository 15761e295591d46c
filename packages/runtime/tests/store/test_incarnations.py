"""Worker children: leases by the server's clock, one word about death, and nothing that brings them back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from headrace.contracts.heartbeat import ExitRecord
from headrace.testing.eventually import eventually

CRASHED = ExitRecord(kind="signal", signal=9, peak_rss_bytes=5)


async def register(kit: Any, name: str, *, lease_seconds: float = 60) -> None:
    await kit.incarnations.register(
        name, service="$s", host="$h.x", pool="p", types=["$t"], slots=3, version="1", lease_seconds=lease_seconds
    )


async def test_a_registered_child_is_known_with_its_lease(kit: Any) -> None:
    await register(kit, "w1")
    (child,) = await kit.incarnations.alive()
    assert (child.id, child.service, child.host, child.pool) == ("w1", "$s", "$h.x", "p")
    assert (child.types, child.slots, child.version) == (("$t",), 3, "1")
    assert child.lease_until - child.started_at == timedelta(seconds=60)
    assert (child.dead_at, child.running) == (None, None)
    assert await kit.incarnations.get("w1") == child
    assert await kit.incarnations.get("w2") is None


async def test_registering_again_does_not_bring_a_dead_child_back(kit: Any) -> None:
    await register(kit, "w1")
    await kit.incarnations.mark_dead("w1", exit_record=CRASHED, running=["j1"])
    dead = await kit.incarnations.get("w1")
    await register(kit, "w1")
    again = await kit.incarnations.get("w1")
    assert (again.dead_at, again.running, again.started_at) == (dead.dead_at, ("j1",), dead.started_at)
    assert await kit.incarnations.renew(["w1"], lease_seconds=60) == set()


async def test_all_leases_are_renewed_at_once_and_the_dead_are_left_out(kit: Any) -> None:
    for name in ("w1", "w2", "w3"):
        await register(kit, name, lease_seconds=1)
    assert await kit.incarnations.renew(["w1", "w2", "w3"], lease_seconds=60) == {"w1", "w2", "w3"}
    await kit.incarnations.mark_dead("w2", exit_record=CRASHED, running=[])
    before = await kit.incarnations.get("w2")
    assert await kit.incarnations.renew(["w1", "w2", "w3", "w4"], lease_seconds=600) == {"w1", "w3"}
    assert await kit.incarnations.get("w2") == before
    renewed = await kit.incarnations.get("w1")
    assert renewed.lease_until - renewed.started_at > timedelta(seconds=500)
    assert await kit.incarnations.renew([], lease_seconds=60) == set()


async def test_the_first_word_about_a_death_counts(kit: Any) -> None:
    await register(kit, "w1")
    assert await kit.incarnations.mark_dead("w1", exit_record=CRASHED, running=["$j1"], culprit="$j1", pid=7)
    other = ExitRecord(kind="graceful", code=0)
    assert not await kit.incarnations.mark_dead("w1", exit_record=other, running=[])
    child = await kit.incarnations.get("w1")
    assert (child.exit, child.running, child.culprit, child.pid) == (CRASHED, ("$j1",), "$j1", 7)
    assert await kit.incarnations.alive() == []
    assert not await kit.incarnations.mark_dead("w2", exit_record=other, running=[])


async def test_only_one_of_many_is_first_to_say_so(kit: Any) -> None:
    await register(kit, "w1")
    words = await asyncio.gather(
        *(kit.incarnations.mark_dead("w1", exit_record=CRASHED, running=[str(n)]) for n in range(5))
    )
    assert sorted(words) == [False] * 4 + [True]


async def test_a_lease_that_is_over_is_declared_lost_exactly_once(kit: Any) -> None:
    await register(kit, "gone", lease_seconds=0.05)
    await register(kit, "here")
    expired = await eventually(kit.incarnations.expired)
    assert list(expired) == ["gone"]
    assert await kit.incarnations.declare_lost("gone", lease_until=expired["gone"])
    assert not await kit.incarnations.declare_lost("gone", lease_until=expired["gone"])
    child = await kit.incarnations.get("gone")
    assert (child.exit, child.running) == (ExitRecord(kind="lease"), None)
    assert await kit.incarnations.expired() == {}


@pytest.mark.parametrize("renewed_for", [60, 0.05])
async def test_a_lease_that_was_renewed_since_it_was_read_is_not_declared_lost(kit: Any, renewed_for: float) -> None:
    await register(kit, "w1", lease_seconds=0.05)
    expired = await eventually(kit.incarnations.expired)
    await kit.incarnations.renew(["w1"], lease_seconds=renewed_for)
    assert not await kit.incarnations.declare_lost("w1", lease_until=expired["w1"])
    assert (await kit.incarnations.get("w1")).dead_at is None


async def test_a_lease_that_still_runs_is_not_declared_lost(kit: Any) -> None:
    await register(kit, "w1")
    lease_until = (await kit.incarnations.get("w1")).lease_until
    assert not await kit.incarnations.declare_lost("w1", lease_until=lease_until)


async def test_the_long_dead_go_unless_a_job_names_them(kit: Any) -> None:
    for name in ("alive", "dead", "named"):
        await register(kit, name)
    await kit.running(owner="named")
    for name in ("dead", "named"):
        await kit.incarnations.mark_dead(name, exit_record=CRASHED, running=[])
    assert await kit.incarnations.prune() == 0
    await eventually(lambda: kit.incarnations.prune(keep_hours=0))
    assert await kit.incarnations.get("dead") is None
    assert await kit.incarnations.get("named") is not None
    assert await kit.incarnations.get("alive") is not None
