"""The settings of a run's services, and the bounds that follow from them."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.scheduler.intake import MAX_BATCH

from .plan import Plan
from .replica_set import ELECTION_S

HEARTBEAT_S, LEASE_S, INTERVAL_S, GRACE_S = 0.5, 2.0, 2.0, 3.0
SLOTS = 4
BOUNDS = {
    "heartbeat": HEARTBEAT_S,
    "lease": LEASE_S,
    "sweep": 2.0,  # two duties of a second each: to declare a death, and to hand back
    "probe": 1.0,
    "leader_ttl": 4.0,
    "rebuild_rate": 10_000.0,
    "election": ELECTION_S,
    "cancel": 5.0,
    "horizon": 0.02,
    "max_crashes": 3,
    "hard_limit": 10.0,
    "slots": SLOTS,
    "progress_limit": 3.0,
    "slack": 2.5,
    "slow_command": 0.15,  # the machine has more processes than cores
    "sockets_slack": 60,  # connection pools grow under faults up to their limits, and keep what they have
}


def settings_for(plan: Plan, more: Mapping[str, str]) -> dict[str, str]:
    """The services' settings."""
    return {
        "JOB_WORKER_HEARTBEAT_SECONDS": str(HEARTBEAT_S),
        "JOB_LEASE_SECONDS": str(LEASE_S),
        "JOB_RECOVERY_INTERVAL_SECONDS": str(INTERVAL_S),
        "JOB_SHUTDOWN_GRACE_SECONDS": str(GRACE_S),
        "JOB_QUEUE_SIZE_LIMIT": str(plan.load.bound),
        "JOB_MAX_WORKERS": str(SLOTS),
        **more,
    }


def bounds_for(plan: Plan, more: Mapping[str, float]) -> dict[str, float]:
    """What the checkers hold a run to."""
    return {**BOUNDS, "overshoot": float(MAX_BATCH * (plan.parts["scheduler"] - 1)), **more}
