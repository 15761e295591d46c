"""Deaths that only recovery can notice: nobody renews a lease any more."""

from __future__ import annotations

import pytest
from recovery_stage import Stage

from headrace.contracts.errors import StoreUnavailableError
from headrace.recovery.deaths import DeathDuty
from headrace.recovery.orphans import OrphanDuty
from headrace.recovery.prune import PruneDuty


class FakeClock:
    """Monotonic seconds that move when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def passes(duty: DeathDuty, clock: FakeClock, seconds: int) -> int:
    """One pass a second; how many deaths were declared."""
    declared = 0
    for _ in range(seconds):
        declared += (await duty.run_once())["worker_lost"]
        clock.now += 1
    return declared


async def test_b7_a_recovery_that_just_started_judges_nobody(stage: Stage) -> None:
    await stage.worker(lease_seconds=0.001)
    clock = FakeClock()
    lease = int(stage.parts.config.lease_seconds)
    duty = DeathDuty(stage.parts, clock=clock)
    assert await passes(duty, clock, lease) == 0
    assert await passes(duty, clock, 2) == 1
    child = await stage.parts.incarnations.get("w-1")
    assert child is not None
    assert child.dead_at is not None
    assert child.exit is not None
    assert (child.exit.kind, child.running) == ("lease", None)


async def test_b7_the_servers_clock_must_agree(stage: Stage) -> None:
    """Watched for a whole lease, but the lease runs by the server's clock: a primary with another clock, say."""
    await stage.worker(lease_seconds=3600)
    clock = FakeClock()
    assert await passes(DeathDuty(stage.parts, clock=clock), clock, 120) == 0


async def test_b7_a_new_leadership_begins_the_watch_anew(stage: Stage) -> None:
    await stage.worker(lease_seconds=0.001)
    clock = FakeClock()
    duty = DeathDuty(stage.parts, clock=clock)
    assert await passes(duty, clock, 90) == 0
    duty.begin_anew()
    assert await passes(duty, clock, 90) == 0
    assert await passes(duty, clock, 2) == 1


async def test_b7_a_failed_call_begins_the_watch_anew(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.worker(lease_seconds=0.001)
    clock = FakeClock()
    duty = DeathDuty(stage.parts, clock=clock)
    assert await passes(duty, clock, 90) == 0

    async def down() -> None:
        raise StoreUnavailableError("down")

    with monkeypatch.context() as patch:
        patch.setattr(stage.parts.incarnations, "alive", down)
        with pytest.raises(StoreUnavailableError):
            await duty.run_once()
    assert await passes(duty, clock, 90) == 0
    assert await passes(duty, clock, 2) == 1


async def test_a_renewed_lease_lives(stage: Stage) -> None:
    await stage.worker(lease_seconds=0.001)
    clock = FakeClock()
    duty = DeathDuty(stage.parts, clock=clock)
    for _ in range(4):
        assert await passes(duty, clock, 50) == 0
        await stage.parts.incarnations.renew(["w-1"], lease_seconds=0.001)


async def test_the_jobs_of_a_lost_host_wait_again(stage: Stage) -> None:
    await stage.worker(lease_seconds=0.001)
    job = await stage.running()
    clock = FakeClock()
    await passes(DeathDuty(stage.parts, clock=clock), clock, 92)
    assert await OrphanDuty(stage.parts).run_once() == {"host_lost": 1}
    assert (await stage.document(job.id)).crashes == 1


async def test_a4_the_long_dead_are_kept_while_a_job_names_them(stage: Stage) -> None:
    for name in ("w-named", "w-free", "w-fresh"):
        await stage.worker(name)
        await stage.die(name)
    await stage.running("w-named")
    old = {"$set": {"dead_at": (await stage.parts.reconcile.now()).replace(year=2020)}}
    await stage.parts.incarnations.collection.update_many({"_id": {"$in": ["w-named", "w-free"]}}, old)
    assert await PruneDuty(stage.parts).run_once() == {"worker_pruned": 1}
    assert await PruneDuty(stage.parts).run_once() == {}
    assert await stage.parts.incarnations.get("w-free") is None
    assert await stage.parts.incarnations.get("w-named") is not None
    assert await stage.parts.incarnations.get("w-fresh") is not None
