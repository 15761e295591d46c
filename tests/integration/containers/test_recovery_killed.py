"""Of two recoveries one leads; when its container is killed, the other does what it did."""

from __future__ import annotations

import time

import pytest

from headrace.client import Client
from headrace.testing.eventually import eventually

from .node import Node
from .system import System
from .truth import Jobs

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

LEADER_LEASE_SECONDS = 4
SWEEP_SECONDS = 1


async def the_leader(system: System) -> Node:
    def leaders() -> list[Node]:
        return [node for node in system.services["recovery"] if node.detail("leadership") == "leader"]

    return (await eventually(leaders, within=60, every=0.2, what="one recovery leads"))[0]


async def test_the_other_recovery_hands_back_what_a_dead_worker_held(
    system: System, client: Client, jobs: Jobs
) -> None:
    leader = await the_leader(system)
    standby = next(node for node in system.services["recovery"] if node is not leader)
    assert standby.detail("leadership") == "standby"
    victim = system.services["worker"][0]
    await jobs.add(client, 40, seconds=2)
    await jobs.until_running(jobs.ids, on=victim)
    leader.kill()
    killed = time.monotonic()
    victim.kill()

    await eventually(lambda: standby.detail("leadership") == "leader", within=60, every=0.1, what="the standby leads")
    took = time.monotonic() - killed
    # The probe's answer is up to a second old, and the engine took its time to kill.
    assert took < LEADER_LEASE_SECONDS + SWEEP_SECONDS + 5, f"it led after {took:.1f} s"
    await jobs.all_ended()
    assert jobs.reasons()["host_lost"] > 0, "the new leader did it"


async def test_a_leader_that_is_paused_and_wakes_up_beside_another_changes_nothing(
    system: System, client: Client, jobs: Jobs
) -> None:
    leader = await the_leader(system)
    standby = next(node for node in system.services["recovery"] if node is not leader)
    await jobs.add(client, 60, seconds=1)
    leader.container.pause()
    await eventually(lambda: standby.detail("leadership") == "leader", within=60, every=0.2)
    leader.container.unpause()
    await jobs.all_ended()
    reasons = set(jobs.reasons())
    assert reasons <= {"submitted", "claimed", "released", "completed"}, f"live work was taken away: {reasons}"
    assert {jobs.starts(job_id) for job_id in jobs.ids} == {1}

    def one_leads() -> bool:
        return sorted(node.detail("leadership") for node in system.services["recovery"]) == ["leader", "standby"]

    await eventually(one_leads, within=60, every=0.2)
