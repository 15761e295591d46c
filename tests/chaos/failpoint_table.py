"""Every failpoint of our code: whose it is, and what makes a process come there."""

from __future__ import annotations

from dataclasses import dataclass

ACTIONS = ("exit137", "stop", "error")


@dataclass(frozen=True)
class Place:
    """A failpoint."""

    name: str
    role: str
    """Whose processes share it."""
    target: str
    """Which process of the role passes it, as faults name it."""
    provoke: str = "load"
    """What makes somebody pass it: `load` (clients alone do), or a way of `acts_failpoints`."""
    tested_by: str | None = None
    """A test of its own instead of a place in the suite: what leads there takes minutes."""
    error: str = "StoreUnavailableError"
    """What `error` raises: what the call beside it would, had it gone wrong."""

    def action(self, word: str) -> str:
        """An action as the failpoint takes it."""
        return f"error:{self.error}" if word == "error" else word


def _scheduler(name: str, error: str = "StoreUnavailableError") -> Place:
    return Place(name, "scheduler", "scheduler", error=error)


def _child(name: str, provoke: str = "load") -> Place:
    return Place(f"worker.{name}", "worker", "child", provoke)


def _supervisor(name: str, provoke: str) -> Place:
    return Place(f"worker.{name}", "worker", "supervisor", provoke)


def _recovery(name: str, provoke: str, tested_by: str | None = None) -> Place:
    return Place(name, "recovery", "recovery:leader", provoke, tested_by)


PLACES: tuple[Place, ...] = (
    # A submission: place, truth, index.
    _scheduler("before_reserve"),
    _scheduler("after_reserve"),
    _scheduler("before_mongo_insert"),
    _scheduler("after_mongo_insert", error="OutcomeUnknownError"),
    _scheduler("after_enqueue"),
    # A cancel: truth, then index and hint.
    _scheduler("before_cancel"),
    _scheduler("after_cancel", error="OutcomeUnknownError"),
    # A claim: pop, truth.
    _child("before_pop"),
    _child("after_pop"),
    _child("after_claim"),
    # Registration and death of a child, by its supervisor; its lease.
    _supervisor("before_register", "kill-child"),
    _supervisor("after_register", "kill-child"),
    # A run, and what it saves.
    _child("job_started"),
    _child("before_checkpoint"),
    _child("after_checkpoint"),
    _supervisor("before_renew", "load"),
    _supervisor("after_renew", "load"),
    # A settlement: truth, index.
    _child("before_settle"),
    _child("after_settle"),
    _child("after_index"),
    _supervisor("before_mark_dead", "kill-child"),
    _supervisor("after_mark_dead", "kill-child"),
    # The audit's release of what a child owns and does not know.
    _child("before_release", "unsettled"),
    _child("after_release", "unsettled"),
    # Recovery: lead, declare dead, hand back, sweep, rebuild.
    _recovery("before_leader_lock", "load"),
    _recovery("holding_leader_lock", "load"),
    _recovery("between_select_and_update", "kill-child"),
    _recovery("between_hand_back_and_push", "kill-child"),
    _recovery("after_push", "kill-child"),
    _recovery("before_declare_lost", "kill-host"),
    _recovery("after_declare_lost", "kill-host"),
    _recovery("between_sweep_look_and_move", "old-inflight"),
    _recovery("between_dead_claims_look_and_move", "pop-and-die"),
    _recovery("during_rebuild", "flush"),
    _recovery("before_finish_rebuild", "flush"),
    _recovery("after_finish_rebuild", "flush"),
    _recovery("between_overdue_look_and_update", "", "services/recovery/tests/test_process.py"),
    _recovery("between_cancel_look_and_update", "", "services/recovery/tests/test_process.py"),
    _recovery("between_retention_look_and_delete", "", "services/recovery/tests/test_process.py"),
)
