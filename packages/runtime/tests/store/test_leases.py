"""Leader leases and the registry of job types: small collections that many write at once."""

from __future__ import annotations

import asyncio
from typing import Any

from headrace.contracts.executor import ExecutionPolicy
from headrace.contracts.retry import RetryPolicy
from headrace.runtime.store.job_types import JobType, JobTypes
from headrace.runtime.store.leases import LeaderLease, read_lease
from headrace.testing.eventually import eventually


def lease(kit: Any, holder: str, *, name: str = "recovery", seconds: float = 60) -> LeaderLease:
    return LeaderLease(kit.database, name=name, holder=holder, seconds=seconds)


async def test_the_first_leads_and_renews_under_one_epoch(kit: Any) -> None:
    first, second = lease(kit, "$a.b"), lease(kit, "b")
    assert await first.acquire() == 1
    assert await second.acquire() is None
    assert await first.acquire() == 1
    view = await read_lease(kit.database, "recovery")
    assert view is not None
    assert (view.name, view.holder, view.epoch, view.valid) == ("recovery", "$a.b", 1, True)


async def test_of_many_that_start_at_once_one_leads(kit: Any) -> None:
    for round_ in range(3):
        candidates = [lease(kit, f"c{number}", name=f"lease-{round_}") for number in range(8)]
        epochs = await asyncio.gather(*(candidate.acquire() for candidate in candidates))
        assert sorted(epoch for epoch in epochs if epoch is not None) == [1]


async def test_a_lease_that_is_over_passes_on_with_a_higher_epoch(kit: Any) -> None:
    first, second = lease(kit, "a", seconds=0.05), lease(kit, "b")
    assert await first.acquire() == 1
    assert await eventually(second.acquire) == 2
    assert await first.acquire() is None


async def test_a_release_lets_the_next_lead_at_once(kit: Any) -> None:
    first, second = lease(kit, "a"), lease(kit, "b")
    await first.acquire()
    await second.release()
    assert await second.acquire() is None
    await first.release()
    assert await eventually(second.acquire, within=5) == 2
    await first.release()
    view = await read_lease(kit.database, "recovery")
    assert view is not None
    assert (view.holder, view.valid) == ("b", True)


async def test_leases_of_other_names_are_others(kit: Any) -> None:
    assert await lease(kit, "a", name="one").acquire() == 1
    assert await lease(kit, "b", name="two").acquire() == 1
    assert await read_lease(kit.database, "three") is None


def job_type(name: str, **policy: Any) -> JobType:
    schema = {"$schema": "x", "properties": {"a.b": {"$ref": "#/$defs/c"}}, "$defs": {"c": {"const": 10**20}}}
    return JobType(type=name, policy=ExecutionPolicy(**policy), payload_schema=schema, contract_version=3)


async def test_job_types_read_back_as_they_were_registered(kit: Any) -> None:
    types = JobTypes(kit.database)
    retry = RetryPolicy(base_seconds=0.1)
    registered = [job_type("b.dotted", pool="cpu", timeout_seconds=1.5, retry=retry), job_type("a", max_retries=0)]
    await types.register(registered)
    assert await types.all() == registered[::-1]
    assert await types.pools() == ["cpu", "default"]


async def test_the_last_word_about_a_type_counts_and_many_may_speak_at_once(kit: Any) -> None:
    types = JobTypes(kit.database)
    assert await types.all() == []
    await asyncio.gather(*(types.register([job_type("a", pool="p1")]) for _ in range(5)))
    await types.register([job_type("a", pool="p2")])
    assert await types.pools() == ["p2"]
